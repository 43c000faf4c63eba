"""A webhook: the notification as JSON, signed, posted to a URL of the device's choice.

The recipient is {transportType: "webhook", url, secret}. The body is

    {"id", "app", "payload", "expires"}

`payload` as it was published, `expires` in milliseconds. `Tidelog-Id` repeats the id, which is the
same at every attempt: a receiver that keeps the ids handles each notification once.
`Tidelog-Signature` is `t=<seconds>,v1=<hex>`: HMAC-SHA256 with the secret over the seconds, a full
stop and the body as it came. A receiver compares it in constant time, and refuses what is older
than it likes: so nobody can replay what they overheard.

Where traces are recorded, a `traceparent` says which one the attempt belongs to.

Any 2xx is success. 410 means that the hook is gone for good; other 4xx that say the same the next
time reject the notification. 401, 403 and 404 are tried again, for receivers are redeployed. No
answer of a receiver is our misconfiguration.
"""

import hashlib
import hmac

import msgspec

from api.push import target
from api.push.client import Poster
from api.push.guard import Guard
from api.push.outcome import DEAD_ADDRESS, UNAVAILABLE, NotSent, by_status
from api.trace_context import trace_headers
from broker.clock import Clock
from broker.push.transport import SENT, Outgoing, Result

SIGNATURE_HEADER = "tidelog-signature"
ID_HEADER = "tidelog-id"
_BY_STATUS = {
    401: UNAVAILABLE,
    403: UNAVAILABLE,
    404: UNAVAILABLE,
    408: UNAVAILABLE,
    410: DEAD_ADDRESS,
    425: UNAVAILABLE,
    429: UNAVAILABLE,
}


class Webhook:
    def __init__(self, client: Poster, guard: Guard, clock: Clock) -> None:
        self._client = client
        self._guard = guard
        self._clock = clock

    def endpoint(self, outgoing: Outgoing) -> str:
        return target.host_name(str(outgoing.recipient.get("url")))

    async def send(self, outgoing: Outgoing) -> Result:
        try:
            url = target.checked(self._guard, target.text(outgoing.recipient, "url"))
            body = _body(outgoing)
            headers = self._headers(outgoing, target.text(outgoing.recipient, "secret"), body)
            reply = await self._client.post(str(url), headers, body)
        except NotSent as not_sent:
            return not_sent.result
        if 200 <= reply.status < 300:
            return SENT
        said = f"the webhook answered {reply.status}"
        retry_ms = reply.retry_after_ms(self._clock())
        return by_status(_BY_STATUS, reply.status).result(said, retry_ms)

    def _headers(self, outgoing: Outgoing, secret: str, body: bytes) -> dict[str, str]:
        return {
            "content-type": "application/json",
            ID_HEADER: outgoing.id,
            SIGNATURE_HEADER: signature(secret, self._clock() // 1_000, body),
            **trace_headers(),
        }


def signature(secret: str, at_s: int, body: bytes) -> str:
    signed = b"%d.%b" % (at_s, body)
    return f"t={at_s},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def _body(outgoing: Outgoing) -> bytes:
    return msgspec.json.encode(
        {
            "id": outgoing.id,
            "app": outgoing.app,
            "payload": outgoing.payload,
            "expires": outgoing.expires_ms,
        }
    )
