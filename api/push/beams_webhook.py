"""Webhooks of Pusher Beams: what came of a notification, posted to the URL of an instance's owner.

Two recipients, each with its own form of request; the body is the same at every attempt.

    beamsWebhook      url, secret, id, customData: as an instance configures it. Signed with
                      HMAC-SHA1 of the body (the secret's), and named by event, webhook and request
    beamsPublishHook  url: `webhookUrl` of a publish (deprecated). Unsigned; a user and password in
                      the URL travel as Basic authentication

2xx within SUCCESS_S is success; anything else is tried again after each of WAITS_S, then given up.
A bad answer counts as a failure of this webhook alone, no answer as one of its host.

Refuses, for good, the URLs that `api.push.guard` refuses for their form.
"""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import msgspec

from api.push import target
from api.push.client import Poster
from api.push.guard import Guard
from api.push.outcome import NotSent
from api.trace_context import trace_headers
from broker.push.transport import (
    RETRIES_EXHAUSTED,
    SENT,
    UNREACHABLE,
    Outgoing,
    Result,
    Verdict,
)

WEBHOOK, PUBLISH_HOOK = "beamsWebhook", "beamsPublishHook"
SUCCESS_S = 3.0
WAITS_S = (10, 30, 120, 300)
USER_AGENT = "pusher-webhooks"
Json = dict[str, Any]


class Form(NamedTuple):
    """A request as it is sent."""

    url: httpx.URL
    headers: dict[str, str]
    body: bytes


class BeamsWebhook:
    """`form`: what is sent; one of the two below."""

    def __init__(self, client: Poster, guard: Guard, form: Callable[[Guard, Outgoing], Form]):
        self._client = client
        self._guard = guard
        self._form = form

    def endpoint(self, outgoing: Outgoing) -> str:
        return f"beams webhooks at {target.host_name(str(outgoing.recipient.get('url')))}"

    async def send(self, outgoing: Outgoing) -> Result:
        try:
            form = self._form(self._guard, outgoing)
        except NotSent as not_sent:
            return not_sent.result
        try:
            reply = await self._client.post(
                str(form.url), form.headers | trace_headers(), form.body
            )
        except NotSent as not_sent:
            return _again(outgoing, not_sent.result.message, is_answer=False)
        if 200 <= reply.status < 300:
            return SENT
        return _again(outgoing, f"the webhook answered {reply.status}", is_answer=True)


def _again(outgoing: Outgoing, message: str, *, is_answer: bool) -> Result:
    if outgoing.made >= len(WAITS_S):
        said = f"given up after {outgoing.made + 1} attempts: {message}"
        return Result(verdict=Verdict.REJECTED, code=RETRIES_EXHAUSTED, message=said)
    return Result(
        verdict=Verdict.TRANSIENT,
        code=UNREACHABLE,
        message=message,
        retry_after_ms=WAITS_S[outgoing.made] * 1_000,
        is_of_address=is_answer,
    )


def configured(guard: Guard, outgoing: Outgoing) -> Form:
    """A webhook that an instance has."""
    webhook, event = outgoing.recipient, outgoing.payload
    document = {
        "payload": _PAYLOADS[event["event"]](event),
        "metadata": {
            "created_at": _instant(event["at"]),
            "event_type": event["event"],
            "event_id": event["eventId"],
            "product": "beams",
        },
        "custom_data": webhook.get("customData") or {},
    }
    body = msgspec.json.encode(document)
    headers = {
        "user-agent": USER_AGENT,
        "content-type": "application/json",
        "webhook-event-type": event["event"],
        "webhook-id-uuid": target.text(webhook, "id"),
        "webhook-request-id-uuid": str(UUID(outgoing.id)),
        "webhook-signature": signature(target.text(webhook, "secret"), body),
    }
    return Form(target.checked(guard, target.text(webhook, "url")), headers, body)


def signature(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()


def of_publish(guard: Guard, outgoing: Outgoing) -> Form:
    """The `webhookUrl` of a publish."""
    told = outgoing.payload
    document = {name: told[name] for name in ("publishId", "status", "requestBody")}
    if "tally" in told:
        document["results"] = _results(told)
    url, authorization = split_user(target.text(outgoing.recipient, "url"))
    headers = {"user-agent": USER_AGENT, "content-type": "application/json", **authorization}
    return Form(target.checked(guard, url), headers, msgspec.json.encode(document))


def split_user(url: str) -> tuple[str, dict[str, str]]:
    """A URL without its user, who is in the header instead. What is no URL stays as it is, for the
    guard to refuse."""
    try:
        parsed = httpx.URL(url)
        if not parsed.userinfo:
            return url, {}
        user = b64encode(f"{parsed.username}:{parsed.password}".encode()).decode()
        return str(parsed.copy_with(userinfo=b"")), {"authorization": f"Basic {user}"}
    except (httpx.InvalidURL, UnicodeError, ValueError):
        return url, {}


def check_publish_hook(guard: Guard, url: str) -> None:
    """Raises RefusedUrl for what will never be asked for."""
    guard.url(split_user(url)[0])


def _users_told(event: Json) -> Json:
    """Each user once: reached on one device is reached."""
    tally = event["tally"]
    reached, missed = set(tally.get("reached", ())), set(tally.get("missed", ()))
    users = list(dict.fromkeys(event["clients"]))
    return {
        **event["payload"],
        "users_delivered_to_gateway": [user for user in users if user in reached],
        "users_no_devices": [user for user in users if user not in reached | missed],
        "users_gateway_failed": [user for user in users if user in missed - reached],
    }


def _as_it_is(event: Json) -> Json:
    payload: Json = event["payload"]
    return payload


_PAYLOADS: dict[str, Callable[[Json], Json]] = {
    "v1.PublishToUsersAttempt": _users_told,
    "v1.UserNotificationAcknowledgement": _as_it_is,
    "v1.UserNotificationOpen": _as_it_is,
}


def _results(told: Json) -> Json:
    """By platform, of those that the publish was for."""
    sent, failed = told["tally"].get("sent", {}), told["tally"].get("failed", {})
    return {
        platform: {
            "numSuccessfulPublishes": sent.get(platform, 0),
            "numFailedPublishes": failed.get(platform, 0),
        }
        for platform in told["platforms"]
    }


def _instant(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%S%z")
