"""`versions`: pages of the versions of one message that was changed often."""

from pathlib import Path
from time import perf_counter

from bench.acknowledged import Wrong, number_of, payload
from bench.measuring import Sample, ratio
from bench.mutable import CHANNEL, everything, mutable, publish
from bench.scale import Scale
from bench.tables import Cell, Table
from broker import Broker, Message
from broker.interactions.change import Change
from broker.interactions.editor import VersionsPage
from broker.interactions.state import UPDATE

TITLE = "a page of 100 versions of one message, wherever it lies"
CAVEATS = """\
- In process, through `Editor.versions`: a hop to the reading thread, one LMDB cursor over the rows
  of the message's versions, and every record checked and decoded. Without HTTP; from a warm page
  cache. Pages go forwards: the first begins with what was published.
- Before the turns all pages were read one after the other, and held every version once, in order.
"""
PAGE = 100
_PLACES = ("first", "middle", "last")
_COMMANDS = 200


class Versioned:
    """A message with `changes` updates: its number counts them."""

    def __init__(self, opened: Broker, changes: int) -> None:
        self.changes = changes
        self._broker = opened
        self._principal = everything(opened)
        self._serial = ""

    async def fill(self) -> None:
        self._serial = await publish(self._broker)
        for first in range(1, self.changes + 1, _COMMANDS):
            numbers = range(first, min(first + _COMMANDS, self.changes + 1))
            commands = [
                self._broker.editor.prepare(self._principal, CHANNEL, self._change(number))
                for number in numbers
            ]
            for result in await self._broker.log.submit_all(commands, app=self._principal.app_id):
                if isinstance(result, Exception):
                    raise result

    def _change(self, number: int) -> Change:
        return Change(self._serial, UPDATE, Message(data=payload(number)))

    async def page(self, after: str | None) -> VersionsPage:
        return await self._broker.editor.versions(
            self._principal, CHANNEL, self._serial, after=after, limit=PAGE
        )

    async def places(self) -> dict[str, str | None]:
        """Behind what the first, the middle and the last page begin. Reads them all; raises Wrong
        when a version is missing, doubled or out of order."""
        cursors: list[str | None] = [None]
        numbers: list[int] = []
        while True:
            page = await self.page(cursors[-1])
            numbers += [number_of(message.data or "") for message in page.messages]
            if page.next is None:
                break
            cursors.append(page.next)
        if numbers != list(range(self.changes + 1)):
            raise Wrong(f"the pages hold {len(numbers)} versions of {self.changes + 1}")
        # The very last page may hold next to nothing: the one before is a whole one.
        whole = cursors[:-1] or cursors
        chosen = (whole[0], whole[len(whole) // 2], whole[-1])
        return dict(zip(_PLACES, chosen, strict=True))


async def run(work: Path, scale: Scale) -> list[Table]:
    async with mutable(work / "versions") as opened:
        cursors: dict[tuple[Versioned, str], str | None] = {}
        for changes in scale.versions:
            message = Versioned(opened, changes)
            await message.fill()
            found = await message.places()
            cursors |= {(message, place): cursor for place, cursor in found.items()}
        samples = {key: Sample() for key in cursors}
        for _ in range(scale.rounds):
            for (message, place), sample in samples.items():
                sample.add(await _turn(message, cursors[message, place], scale.pages))
    columns = ("versions", "page", "p50 ms", "p99 ms", "pages/s", "x first row")
    return [Table("Pages of 100, oldest first", columns, _rows(samples))]


async def _turn(message: Versioned, cursor: str | None, pages: int) -> Sample:
    latencies: list[float] = []
    began = perf_counter()
    for _ in range(pages):
        start = perf_counter()
        await message.page(cursor)
        latencies.append(perf_counter() - start)
    return Sample(pages, perf_counter() - began, latencies=latencies)


def _rows(samples: dict[tuple[Versioned, str], Sample]) -> list[list[Cell]]:
    first = next(iter(samples.values()))
    rows: list[list[Cell]] = []
    for (message, place), sample in samples.items():
        p50, p99 = sample.latency_ms(0.5), sample.latency_ms(0.99)
        beside = ratio(sample.turns, first.turns)
        rows.append([message.changes, place, p50, p99, sample.per_second, beside])
    return rows
