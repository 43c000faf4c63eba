"""Web Push: an encrypted request to whatever push service the browser named.

RFC 8030 (the request), 8188 and 8291 (aes128gcm for the browser alone), 8292 (VAPID). The recipient
is that of `api.push.web_subscription`. A new key pair and salt serve every request, so a repeated
notification is another ciphertext; `Topic` is the notification's id, so a repetition replaces what
still waits for the browser instead of showing twice.

Fault model: the push service is whoever the device says. So the guard looks at the target at every
attempt, and 400, 401 and 403, which mean that our VAPID key is not accepted, are MISCONFIGURED for
this subscription alone: anybody can subscribe to another key and not say so, which must not close
the service to all others. Where the device says that it did, the service is not asked: it cannot
work, but would again if the operator restored that key.
"""

import http_ece
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from api.push import payload, target
from api.push.client import Poster
from api.push.guard import Guard
from api.push.outcome import (
    DEAD_ADDRESS,
    NOT_ACCEPTED,
    REFUSED,
    UNAVAILABLE,
    WRONG_KEY,
    NotSent,
    by_status,
)
from api.push.prepared import Prepared
from api.push.vapid import Vapid
from api.push.web_subscription import WebSubscription, subscription, target_url
from broker.clock import Clock
from broker.push.transport import SENT, Outgoing, Result

RECORD_BYTES = 4_096
_SENT = frozenset({200, 201, 202, 204})
_BY_STATUS = {
    400: NOT_ACCEPTED,
    401: NOT_ACCEPTED,
    403: NOT_ACCEPTED,
    404: DEAD_ADDRESS,
    408: UNAVAILABLE,
    410: DEAD_ADDRESS,
    413: REFUSED,
    425: UNAVAILABLE,
    429: UNAVAILABLE,
}


class WebPush:
    def __init__(self, vapid: Vapid, client: Poster, guard: Guard, clock: Clock) -> None:
        self._vapid = vapid
        self._client = client
        self._guard = guard
        self._clock = clock
        self._prepared = Prepared(payload.for_web)

    def endpoint(self, outgoing: Outgoing) -> str:
        try:
            return target.host_name(target_url(outgoing.recipient.get("targetUrl")))
        except NotSent:
            return target.NOWHERE

    async def send(self, outgoing: Outgoing) -> Result:
        try:
            return await self._send(outgoing, subscription(outgoing.recipient))
        except NotSent as not_sent:
            return not_sent.result

    async def _send(self, outgoing: Outgoing, to: WebSubscription) -> Result:
        if to.vapid_point not in (None, self._vapid.public_point):
            raise WRONG_KEY.because("the browser subscribed to another VAPID key")
        url = target.checked(self._guard, to.target)
        body = encrypted(self._prepared(outgoing.payload), to)
        reply = await self._client.post(str(url), self._headers(outgoing, target.origin(url)), body)
        if reply.status in _SENT:
            return SENT
        outcome = by_status(_BY_STATUS, reply.status)
        said = f"the push service answered {reply.status}"
        result = outcome.result(said, reply.retry_after_ms(self._clock()))
        return msgspec.structs.replace(result, is_of_address=outcome is NOT_ACCEPTED)

    def _headers(self, outgoing: Outgoing, origin: str) -> dict[str, str]:
        ttl_s = payload.web_ttl_s(outgoing.payload, outgoing.expires_ms, self._clock())
        return {
            "content-type": "application/octet-stream",
            "content-encoding": "aes128gcm",
            "ttl": str(ttl_s),
            "urgency": "high" if payload.is_visible(outgoing.payload, "web") else "normal",
            "topic": outgoing.id,
            "authorization": self._vapid.authorization(origin),
        }


def encrypted(plaintext: bytes, to: WebSubscription) -> bytes:
    """One record of aes128gcm, header included."""
    sealed = http_ece.encrypt(
        plaintext,
        private_key=generate_private_key(SECP256R1()),
        dh=to.p256dh,
        auth_secret=to.auth,
        rs=RECORD_BYTES,
        version="aes128gcm",
    )
    return bytes(sealed)
