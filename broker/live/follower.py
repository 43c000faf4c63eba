"""A place in a channel's log: live while its consumer keeps up, else a cursor that reads on.

The one mechanism behind resume, rewind and slow consumers: a follower stands at a position, and
everything behind it is passed on once and in order. Live batches come from the hub. A follower that
is behind ignores them and reads pages from disk (`read_on`) until it has caught up; batches that
arrive during the last read are held and told apart by position.
"""

from collections.abc import Iterable, Mapping, Sequence

from broker.live.hub import Batch, ChannelKey
from broker.messages.serials import before
from broker.storage_errors import mapped
from storage import Log, Record, Span, Stream

# A page is encoded in one turn of the loop: about a millisecond.
PAGE_RECORDS = 200
PAGE_BYTES = 128 * 1024
HELD_RECORDS_MAX = 2_000


class Follower:
    """`floors`: for each kind that is followed, the serial behind which its records begin.

    A subclass says what becomes of a batch (`emit`), and who calls `read_on` when it `is behind`.
    """

    def __init__(self, log: Log, key: ChannelKey, position: int, floors: Mapping[int, int]) -> None:
        self.key = key
        self.position = position
        self.behind = False
        self._log = log
        self._floors = floors
        self._held: list[Record] | None = None

    def follow(self, kinds: Iterable[int], now: int) -> None:
        """Follow these kinds from here on; those that are new, from `now`."""
        self._floors = {kind: self._floors.get(kind, now) for kind in kinds}

    def emit(self, batch: Batch) -> None:
        """Pass a batch on. It may hold kinds that are not followed; it must not wait."""
        raise NotImplementedError

    def lagging(self) -> None:
        """Called when the follower falls behind: somebody must see to it that it reads on."""
        raise NotImplementedError

    def offer(self, batch: Batch) -> None:
        if self.behind:
            self._hold(batch)
        elif batch.first > self.position:
            self.position = batch.last
            self.emit(batch)
        else:
            self._emit(batch.records)

    def close(self) -> None:
        """The log has ended: nothing more comes."""

    def fall_behind(self, position: int) -> None:
        """What was passed on from serial `position` on was dropped: read it again, later."""
        standing = before(position)  # it is told as a channelSerial
        self.position = min(self.position, standing) if self.behind else standing
        self._held = None
        if not self.behind:
            self.behind = True
            self.lagging()

    def _hold(self, batch: Batch) -> None:
        if self._held is not None:
            self._held += batch.records
            if len(self._held) > HELD_RECORDS_MAX:
                self._held = None

    def _emit(self, records: Sequence[Record]) -> None:
        """Pass on those that are new here."""
        new = [
            record
            for record in records
            if record.serial > self.position
            and record.event is not None
            and record.serial > self._floors.get(record.stream.kind, 0)
        ]
        if new:
            self.position = new[-1].serial
            self.emit(Batch(new))

    async def read_on(self) -> bool:
        """Pass on the next page; False when the follower is live again."""
        self._held = []
        app, channel = self.key
        spans = {
            Stream(app, channel, kind): Span(max(self.position, floor) + 1)
            for kind, floor in self._floors.items()
        }
        with mapped():
            page = await self._log.read_merged(spans, limit=PAGE_RECORDS, size=PAGE_BYTES)
        held, self._held = self._held, None
        self.behind = False
        self._emit(page.records)
        if self.behind:  # the page itself was too much for its consumer
            return True
        if page.more or held is None:
            self.position = max(self.position, page.last)
            self.behind = True
            return True
        self._emit(held)
        return self.behind
