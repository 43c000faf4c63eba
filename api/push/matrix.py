"""Matrix push gateways: plain notifications, and gematik's encrypted ones, in batches.

The recipient is {transportType: "matrix", url, appId, pushkey, data?, encryption?}. Its URL says
which API the gateway speaks (`api.push.matrix_target`):

    Matrix      one notification a request, for one device
    gematik     notify/batch, or notifyEncrypted/batch for who registered encryption: what is
                waiting for the same URL goes together (`api.push.gathering`)

A pusher that registered encryption never gets plain text: without a key for the month, or at a
gateway that takes nothing encrypted, the notification is rejected. The ids of event and item are
that of the notification, the same at every attempt, so that gateways can tell repeats.

Fault model: a user chooses the gateway, so its URL is checked at every attempt, and each URL is an
endpoint of its own. A batch that fails counts as one failure of the endpoint: only the sender that
made the request reports it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from api.push import matrix_payload, matrix_reply, matrix_target
from api.push.client import Poster
from api.push.gathering import Gathering
from api.push.guard import RefusedUrl
from api.push.matrix_payload import Json, Pusher
from api.push.matrix_target import Gateway, Gateways, NotAllowed, Wire
from api.push.outcome import DEAD_ADDRESS, NOT_ALLOWED, WRONG_KEY, NotSent
from broker.clock import Clock
from broker.push.transport import Outgoing, Result

BATCH_ITEMS_MAX = 100
BATCH_BYTES_MAX = 250_000  # a gateway takes 256 KB
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class _Item:
    """body: as it stands in a batch."""

    id: str
    pushkey: str
    body: bytes

    @property
    def size(self) -> int:
        return len(self.body) + 1


class Matrix:
    def __init__(self, client: Poster, gateways: Gateways, clock: Clock) -> None:
        self._client = client
        self._gateways = gateways
        self._clock = clock
        self._gatherings: dict[str, Gathering[_Item, Result]] = {}

    def endpoint(self, outgoing: Outgoing) -> str:
        return matrix_target.endpoint(str(outgoing.recipient.get("url")))

    async def send(self, outgoing: Outgoing) -> Result:
        try:
            gateway = self._gateway(outgoing)
            to = matrix_payload.pusher(outgoing.recipient)
            if gateway.wire is Wire.MATRIX:
                return await self._notify(gateway.url, outgoing, to)
            way, notification = _for_gematik(outgoing, to)
            body = msgspec.json.encode({"id": outgoing.id, "notification": notification})
            return await self._together(gateway.url + way, _Item(outgoing.id, to.pushkey, body))
        except NotSent as not_sent:
            return not_sent.result

    def _gateway(self, outgoing: Outgoing) -> Gateway:
        try:
            return self._gateways.gateway(str(outgoing.recipient.get("url") or ""))
        except NotAllowed as refused:
            raise NOT_ALLOWED.because(str(refused)) from None
        except RefusedUrl as refused:
            raise DEAD_ADDRESS.because(str(refused)) from None

    async def _notify(self, url: str, outgoing: Outgoing, to: Pusher) -> Result:
        if to.key_identifier is not None:
            raise WRONG_KEY.because("the pusher wants encryption, its gateway takes none")
        notification = matrix_payload.plain(outgoing, to)
        body = msgspec.json.encode({"notification": notification})
        reply = await self._client.post(url, _JSON, body)
        return matrix_reply.of_one(reply, to.pushkey, self._clock())

    async def _together(self, url: str, item: _Item) -> Result:
        gathering = self._gatherings.get(url)
        if gathering is None:
            gathering = self._gatherings[url] = self._new_gathering(url)
        try:
            result, is_asker = await gathering.send(item)
        finally:
            if gathering.is_idle and self._gatherings.get(url) is gathering:
                del self._gatherings[url]
        return result if is_asker else msgspec.structs.replace(result, is_silent=True)

    def _new_gathering(self, url: str) -> Gathering[_Item, Result]:
        async def ask(items: Sequence[_Item]) -> Sequence[Result] | None:
            return await self._batch(url, items)

        return Gathering(ask, BATCH_ITEMS_MAX, BATCH_BYTES_MAX)

    async def _batch(self, url: str, items: Sequence[_Item]) -> Sequence[Result] | None:
        """None where the gateway refuses a batch: one user's item must not cost others theirs."""
        body = b'{"notifications":[%b]}' % b",".join(item.body for item in items)
        try:
            reply = await self._client.post(url, _JSON, body)
        except NotSent as not_sent:
            return [not_sent.result] * len(items)
        if reply.status in matrix_reply.TOGETHER and len(items) > 1:
            return None
        keys = [(item.id, item.pushkey) for item in items]
        return matrix_reply.of_batch(reply, keys, self._clock())


def _for_gematik(outgoing: Outgoing, to: Pusher) -> tuple[str, Json]:
    """Where behind the base, and what. Raises NotSent."""
    if to.key_identifier is None:
        return "notify/batch", matrix_payload.plain(outgoing, to)
    if outgoing.month_key is None:
        raise WRONG_KEY.because("the pusher wants encryption, and its key is gone")
    return "notifyEncrypted/batch", matrix_payload.encrypted(outgoing, to, outgoing.month_key)
