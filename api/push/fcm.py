"""Firebase Cloud Messaging, HTTP v1: one request a notification, as a service account.

The recipient is {transportType: "fcm" or "gcm", registrationToken}. What Google answers is judged
by the error code in the details of type FcmError; where there is none, by the canonical status.

INVALID_ARGUMENT is said of registration tokens and of payloads alike. It is the token that is dead
only if the details say nothing of a field, or name `message.token`.

Fault model: 401 is answered with a new access token and one repetition, at once. Without
Retry-After, Google asks for a minute after 429 and ten seconds after its own faults and those of
the network: that goes into `retry_after_ms`, as the least the outbox should wait.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from api.push import payload
from api.push.access_token import AccessToken
from api.push.client import Poster
from api.push.key_files import ServiceAccount
from api.push.outcome import (
    DEAD_ADDRESS,
    NO_ADDRESS,
    NOT_ACCEPTED,
    REFUSED,
    UNAVAILABLE,
    NotSent,
    Outcome,
    by_status,
)
from api.push.reply import Reply, reason
from broker.clock import Clock
from broker.push.transport import SENT, UNREACHABLE, Outgoing, Result

QUOTA_RETRY_MS = 60_000
FAULT_RETRY_MS = 10_000
_JSON = {"content-type": "application/json; charset=utf-8"}
_TOKEN_FIELD = "message.token"  # noqa: S105
_FCM_ERROR = "google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "google.rpc.BadRequest"

_BY_CODE = {
    "UNREGISTERED": DEAD_ADDRESS,
    "SENDER_ID_MISMATCH": DEAD_ADDRESS,
    "THIRD_PARTY_AUTH_ERROR": NOT_ACCEPTED,
    "UNAUTHENTICATED": NOT_ACCEPTED,
    "PERMISSION_DENIED": NOT_ACCEPTED,
    "NOT_FOUND": NOT_ACCEPTED,  # without a word of the token: there is no such project
    "QUOTA_EXCEEDED": UNAVAILABLE,
    "RESOURCE_EXHAUSTED": UNAVAILABLE,
    "UNAVAILABLE": UNAVAILABLE,
    "INTERNAL": UNAVAILABLE,
}
_BY_STATUS = {401: NOT_ACCEPTED, 403: NOT_ACCEPTED, 404: NOT_ACCEPTED, 429: UNAVAILABLE}
_LEAST_RETRY_MS = {429: QUOTA_RETRY_MS}


@dataclass(frozen=True, kw_only=True)
class FcmSettings:
    url: str
    account: ServiceAccount


class Fcm:
    def __init__(self, settings: FcmSettings, client: Poster, clock: Clock) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._token = AccessToken(settings.account, client, clock)
        self._url = f"{settings.url}/v1/projects/{settings.account.project_id}/messages:send"

    def endpoint(self, outgoing: Outgoing) -> str:
        return self._settings.url

    async def send(self, outgoing: Outgoing) -> Result:
        try:
            reply = await self._post(self._body(outgoing))
        except NotSent as not_sent:
            return _patient(not_sent.result)
        return SENT if reply.status == 200 else self._result(reply)

    def _body(self, outgoing: Outgoing) -> bytes:
        token = outgoing.recipient.get("registrationToken")
        if not isinstance(token, str) or not token:
            raise NO_ADDRESS.because("registrationToken is missing")
        ttl_s = payload.ttl_s(outgoing.payload, outgoing.expires_ms, self._clock())
        message = payload.for_fcm(outgoing.payload, ttl_s)
        return msgspec.json.encode({"message": {**message, "token": token}})

    async def _post(self, body: bytes) -> Reply:
        token = await self._token.current()
        reply = await self._client.post(self._url, _authorized(token), body)
        if reply.status != 401:
            return reply
        renewed = await self._token.after(token)
        return await self._client.post(self._url, _authorized(renewed), body)

    def _result(self, reply: Reply) -> Result:
        error = _object(reply.json().get("error"))
        code, outcome = _judged(error, reply.status)
        retry_ms = None
        if outcome is UNAVAILABLE:
            least_ms = _LEAST_RETRY_MS.get(reply.status, FAULT_RETRY_MS)
            asked_ms = reply.retry_after_ms(self._clock())
            retry_ms = least_ms if asked_ms is None else asked_ms
        return outcome.result(f"FCM answered {reply.status} {code}".rstrip(), retry_ms)


def _judged(error: dict[str, Any], status: int) -> tuple[str, Outcome]:
    details = error.get("details")
    found = [_object(detail) for detail in details] if isinstance(details, list) else []
    of_fcm = [d for d in found if str(d.get("@type", "")).endswith(_FCM_ERROR)]
    code = next((reason(d.get("errorCode")) for d in of_fcm), "") or reason(error.get("status"))
    if code == "INVALID_ARGUMENT":
        return code, DEAD_ADDRESS if _is_of_the_token(found, bool(of_fcm)) else REFUSED
    return code, _BY_CODE.get(code) or by_status(_BY_STATUS, status)


def _is_of_the_token(details: list[dict[str, Any]], is_fcm_error: bool) -> bool:
    fields = [
        _object(violation).get("field")
        for detail in details
        if str(detail.get("@type", "")).endswith(_BAD_REQUEST)
        for violation in _list(detail.get("fieldViolations")) or [None]
    ]
    return is_fcm_error if not fields else all(field == _TOKEN_FIELD for field in fields)


def _authorized(token: str) -> dict[str, str]:
    return {**_JSON, "authorization": f"Bearer {token}"}


def _patient(result: Result) -> Result:
    """Trouble on the way to Google is waited for as Google's own."""
    if result.code == UNREACHABLE and result.retry_after_ms is None:
        return msgspec.structs.replace(result, retry_after_ms=FAULT_RETRY_MS)
    return result


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
