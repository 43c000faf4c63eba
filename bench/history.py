"""`history`: pages of 100 messages from channels of very different lengths."""

from pathlib import Path
from time import perf_counter

import broker
from bench.acknowledged import Wrong, number_of
from bench.filling import fill
from bench.measuring import Sample, ratio
from bench.scale import Scale
from bench.tables import Cell, Table
from broker import Broker, StoredMessage
from broker.messages import serials
from broker.messages.history import HistoryPage, HistoryQuery

TITLE = "a page of 100 messages, wherever it lies"
CAVEATS = """\
- In process, through `Channel.history_page`: a hop to the reading thread, one LMDB cursor, every
  record checked and decoded. Without HTTP; from a warm page cache.
- The cost in cursor steps is asserted by a test; this is the time. Each page was compared with
  the numbers it must hold.
"""
_PAGE = 100
_PLACES = ("first", "middle", "last")

Pages = dict[str, HistoryQuery]


async def run(work: Path, scale: Scale) -> list[Table]:
    async with broker.open(work / "history") as opened:
        lengths: dict[int, Pages] = {}
        for length in scale.history:
            await fill(opened, [f"bench:{length}"], length)
            lengths[length] = await _pages(opened, length)
        samples = {key: Sample() for key in _keys(lengths)}
        for _ in range(scale.rounds):
            for (length, place), sample in samples.items():
                sample.add(await _turn(opened, length, lengths[length][place], scale.pages))
    columns = ("messages", "page", "p50 ms", "p99 ms", "pages/s", "x first row")
    return [Table("Pages of 100, newest first", columns, _rows(samples))]


def _keys(lengths: dict[int, Pages]) -> list[tuple[int, str]]:
    return [(length, place) for length in lengths for place in _PLACES]


async def _pages(opened: Broker, length: int) -> Pages:
    """The queries of the first, the middle and the last page. A page's cursor is the serial of the
    message before it: looked up by its number."""
    newest = HistoryQuery(limit=_PAGE)
    found = {"first": newest}
    for place, skipped in (("middle", length // 2), ("last", length - _PAGE)):
        before = await _message(opened, length, skipped - 1) if skipped > 0 else None
        cursor = serials.parse(before.serial, opened.series) if before else None
        found[place] = HistoryQuery(limit=_PAGE, cursor=cursor)
    return found


async def _message(opened: Broker, length: int, skipped: int) -> StoredMessage:
    """The message that `skipped` newer ones precede."""
    channel = opened.channel(f"bench:{length}")
    query: HistoryQuery | None = HistoryQuery(limit=opened.settings.history_limit_max)
    while query is not None:
        page = await channel.history_page(query)
        if skipped < len(page.messages):
            return page.messages[skipped]
        skipped -= len(page.messages)
        query = page.next
    raise Wrong(f"channel bench:{length} is too short")


async def _turn(opened: Broker, length: int, query: HistoryQuery, pages: int) -> Sample:
    channel = opened.channel(f"bench:{length}")
    latencies: list[float] = []
    began = perf_counter()
    for _ in range(pages):
        start = perf_counter()
        page = await channel.history_page(query)
        latencies.append(perf_counter() - start)
    seconds = perf_counter() - began
    _check(page)
    return Sample(pages, seconds, latencies=latencies)


def _check(page: HistoryPage) -> None:
    """Numbers were given in order, so a page counts down without a gap. Raises Wrong."""
    numbers = [number_of(message.data) for message in page.messages]
    if not numbers or numbers != list(range(numbers[0], numbers[0] - len(numbers), -1)):
        raise Wrong(f"a page holds {numbers}")


def _rows(samples: dict[tuple[int, str], Sample]) -> list[list[Cell]]:
    first = next(iter(samples.values()))
    rows: list[list[Cell]] = []
    for (length, place), sample in samples.items():
        p50, p99 = sample.latency_ms(0.5), sample.latency_ms(0.99)
        beside = ratio(sample.turns, first.turns)
        rows.append([length, place, p50, p99, sample.per_second, beside])
    return rows
