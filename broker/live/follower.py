"""A place in a channel's log: live while its consumer keeps up, else a cursor that reads on.

The one mechanism behind resume, rewind and slow consumers: a follower stands at a position, and
everything behind it is passed on once and in order. Live batches come from the hub. A follower that
is behind ignores them and reads pages from disk (`read_on`) until it has caught up; batches that
arrive during the last read are held and told apart by position.
"""

from collections.abc import Iterable, Mapping, Sequence

from broker.interactions.showing import as_they_stand
from broker.interactions.state import State, state_of
from broker.interactions.summaries import summary_of
from broker.interactions.versions import published_at
from broker.live.given import Given
from broker.live.hub import Batch, ChannelKey, Sum
from broker.messages.serials import before
from broker.storage_errors import mapped
from storage import Log, Page, Record, Span, Stream, View

# A page is encoded in one turn of the loop: about a millisecond.
PAGE_RECORDS = 200
PAGE_BYTES = 128 * 1024
HELD_RECORDS_MAX = 2_000


class Follower:
    """`floors`: for each kind that is followed, the serial behind which its records begin; behind
    the last of these, `_begin`, a batch needs no sorting out.

    A subclass says what becomes of a batch (`emit`), and who calls `read_on` when it `is behind`.
    """

    def __init__(self, log: Log, key: ChannelKey, position: int, floors: Mapping[int, int]) -> None:
        self.key = key
        self.position = position
        self.behind = False
        self.known = Given(position)
        self._log = log
        self._floors = floors
        self._begin = max(floors.values(), default=0)
        self._held: list[Record] | None = None

    def follow(self, kinds: Iterable[int], now: int) -> None:
        """Follow these kinds from here on; those that are new, from `now`."""
        following = {kind: self._floors.get(kind, now) for kind in kinds}
        if following.keys() - self._floors.keys():
            self.known.forget(now)
        self._floors = following
        self._begin = max(following.values(), default=0)

    def emit(self, batch: Batch) -> None:
        """Pass a batch on. It may hold kinds that are not followed; it must not wait."""
        raise NotImplementedError

    def lagging(self) -> None:
        """Called when the follower falls behind: somebody must see to it that it reads on."""
        raise NotImplementedError

    def offer(self, batch: Batch) -> None:
        if self.behind:
            self._hold(batch)
        elif batch.first > max(self.position, self._begin):
            self.position = batch.last
            self.emit(batch)
        else:
            self._emit(batch.records)

    def close(self) -> None:
        """The log has ended: nothing more comes."""

    def state_of(self, batch: Batch, of: int) -> State | None:
        """How a message of this channel stands, asked once for a batch."""
        if of not in batch.states:
            with mapped(), self._log.view() as view:
                batch.states[of] = state_of(view, *self.key, of)
        return batch.states[of]

    def sum_up(self, batch: Batch) -> None:
        """What the annotations in a batch come to, asked once for it."""
        for of in batch.annotated:
            if of not in batch.sums:
                with mapped(), self._log.view() as view:
                    batch.sums[of] = _sum(view, self.key, of)

    def fall_behind(self, position: int) -> None:
        """What was passed on from serial `position` on was dropped: read it again, later."""
        standing = before(position)  # it is told as a channelSerial
        self.position = min(self.position, standing) if self.behind else standing
        self._held = None
        self.known.forget(None)
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
        self.known.since = None  # it will be told how messages stand, not how they came to
        app, channel = self.key
        spans = {
            Stream(app, channel, kind): Span(max(self.position, floor) + 1)
            for kind, floor in self._floors.items()
        }

        def ask(view: View) -> tuple[Page, list[Record]]:
            page = view.merged(spans, limit=PAGE_RECORDS, size=PAGE_BYTES)
            return page, as_they_stand(view, page.records)

        with mapped():
            page, records = await self._log.query(ask)
        held, self._held = self._held, None
        self.behind = False
        self._emit(records)
        if self.behind:  # the page itself was too much for its consumer
            return True
        self.position = max(self.position, page.last)
        if page.more or held is None:
            self.behind = True
            return True
        self.known.since = self.position
        self._emit(held)
        return self.behind


def _sum(view: View, key: ChannelKey, of: int) -> Sum | None:
    """None for a message that is gone."""
    summary, state = summary_of(view, *key, of), state_of(view, *key, of)
    if state is not None:
        return Sum(state.message, summary)
    record = published_at(view, *key, of)
    return None if record is None else Sum(record.event.message, summary)
