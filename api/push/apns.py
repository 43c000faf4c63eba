"""Apple's push service: HTTP/2, a provider token signed with ES256, one request per notification.

The recipient is {transportType: "apns", deviceToken} and perhaps `bundleIdentifier`, which is the
topic then. What Apple answers is judged by its reason, and by the status where the reason is not
in the table: Apple adds reasons.

Whose fault a refused topic is depends on who chose it: ours if it is configured, the device's if it
came with the recipient, the publisher's if it came in `apns-headers`. Only ours may stop everybody.

Fault model: a 410 names the time since when the address is dead, so an address that was set after
that lives (TAKEN_BACK). A token that expired is replaced and the request repeated once, at once.
`apns-id` is the same at every attempt.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from api.push import payload
from api.push.client import Poster
from api.push.outcome import (
    DEAD_ADDRESS,
    NO_ADDRESS,
    NOT_ACCEPTED,
    REFUSED,
    TAKEN_BACK,
    UNAVAILABLE,
    NotSent,
    Outcome,
    by_status,
)
from api.push.prepared import Prepared
from api.push.provider_token import ApnsIdentity, ProviderToken
from api.push.reply import Reply, reason
from broker.clock import Clock
from broker.push.transport import SENT, Outgoing, Result

_DEVICE_TOKEN = re.compile(r"(?:[0-9a-fA-F]{2}){1,128}")
_TOPIC = re.compile(r"[A-Za-z0-9.-]{1,255}")
_CREDENTIALS_EXPIRED = "ExpiredProviderToken"

_BY_REASON = {
    "BadDeviceToken": DEAD_ADDRESS,
    "DeviceTokenNotForTopic": DEAD_ADDRESS,
    "ExpiredToken": DEAD_ADDRESS,
    "Unregistered": DEAD_ADDRESS,
    "BadCertificate": NOT_ACCEPTED,
    "BadCertificateEnvironment": NOT_ACCEPTED,
    "BadTopic": NOT_ACCEPTED,
    _CREDENTIALS_EXPIRED: NOT_ACCEPTED,
    "Forbidden": NOT_ACCEPTED,
    "InvalidProviderToken": NOT_ACCEPTED,
    "MissingProviderToken": NOT_ACCEPTED,
    "MissingTopic": NOT_ACCEPTED,
    "TopicDisallowed": NOT_ACCEPTED,
    "IdleTimeout": UNAVAILABLE,
    "InternalServerError": UNAVAILABLE,
    "ServiceUnavailable": UNAVAILABLE,
    "Shutdown": UNAVAILABLE,
    "TooManyProviderTokenUpdates": UNAVAILABLE,
    "TooManyRequests": UNAVAILABLE,
    "PayloadTooLarge": REFUSED,
}
_BY_STATUS = {403: NOT_ACCEPTED, 410: DEAD_ADDRESS, 429: UNAVAILABLE}
_OF_THE_TOPIC = frozenset({"BadTopic", "DeviceTokenNotForTopic", "MissingTopic", "TopicDisallowed"})


@dataclass(frozen=True, kw_only=True)
class ApnsSettings:
    url: str
    topic: str
    identity: ApnsIdentity


class Apns:
    """Its client must speak HTTP/2 only."""

    def __init__(self, settings: ApnsSettings, client: Poster, clock: Clock) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._token = ProviderToken(settings.identity, clock)
        self._prepared = Prepared(payload.for_apns)

    def endpoint(self, outgoing: Outgoing) -> str:
        return self._settings.url

    async def send(self, outgoing: Outgoing) -> Result:
        try:
            url = f"{self._settings.url}/3/device/{_device_token(outgoing)}"
            asked = self._prepared(outgoing.payload)
            headers = self._headers(outgoing, asked.headers)
            reply = await self._post(url, headers, asked.body)
        except NotSent as not_sent:
            return not_sent.result
        return self._result(outgoing, asked.headers, reply)

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        token = self._token.current()
        reply = await self._client.post(url, _authorized(headers, token), body)
        if reply.status != 403 or reason(reply.json().get("reason")) != _CREDENTIALS_EXPIRED:
            return reply
        renewed = self._token.after(token)
        if renewed is None:
            return reply
        return await self._client.post(url, _authorized(headers, renewed), body)

    def _headers(self, outgoing: Outgoing, asked: Mapping[str, str]) -> dict[str, str]:
        ttl_s = payload.ttl_s(outgoing.payload, outgoing.expires_ms, self._clock())
        return {
            "apns-topic": outgoing.recipient.get("bundleIdentifier") or self._settings.topic,
            "apns-expiration": str(self._clock() // 1_000 + ttl_s if ttl_s else 0),
            **asked,
            "apns-id": str(uuid.UUID(outgoing.id)),
        }

    def _result(self, outgoing: Outgoing, asked: Mapping[str, str], reply: Reply) -> Result:
        if reply.status == 200:
            return SENT
        document = reply.json()
        why = reason(document.get("reason"))
        outcome = _BY_REASON.get(why) or by_status(_BY_STATUS, reply.status)
        if why in _OF_THE_TOPIC:
            outcome = _topic_outcome(outgoing, asked, outcome)
        if reply.status == 410 and _is_newer(outgoing, document.get("timestamp")):
            outcome = TAKEN_BACK
        said = f"APNs answered {reply.status} {why}".rstrip()
        return outcome.result(said, reply.retry_after_ms(self._clock()))


def _authorized(headers: Mapping[str, str], token: str) -> dict[str, str]:
    return {**headers, "authorization": f"bearer {token}"}


def _device_token(outgoing: Outgoing) -> str:
    token = outgoing.recipient.get("deviceToken")
    if not isinstance(token, str) or not token:
        raise NO_ADDRESS.because("deviceToken is missing")
    if not _DEVICE_TOKEN.fullmatch(token):
        raise DEAD_ADDRESS.because("deviceToken is not hexadecimal")
    bundle = outgoing.recipient.get("bundleIdentifier")
    if bundle and not (isinstance(bundle, str) and _TOPIC.fullmatch(bundle)):
        raise DEAD_ADDRESS.because("bundleIdentifier is not one")
    return token


def _topic_outcome(outgoing: Outgoing, asked: Mapping[str, str], ours: Outcome) -> Outcome:
    if "apns-topic" in asked:
        return REFUSED
    return DEAD_ADDRESS if outgoing.recipient.get("bundleIdentifier") else ours


def _is_newer(outgoing: Outgoing, dead_since_ms: object) -> bool:
    return isinstance(dead_since_ms, int) and outgoing.updated_ms > dead_since_ms
