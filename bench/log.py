"""`log`: publishing through the real `submit`, fsynced, every fold on, beside Redis."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench import redis_peer
from bench.measuring import Contender, Sample, in_turn, ratio
from bench.publishers import Disturbed, bare, tidelog
from bench.scale import Scale
from bench.tables import Cell, Table
from storage import LogSettings

TITLE = "publishing, and the disk has it"
CAVEATS = """\
- Redis keeps the messages in memory and appends to one file, one sync per group. LMDB syncs twice
  per commit (data, then meta page), keeps two B+trees (records, index), a checksum and a chain of
  hashes, and with ids a row per message that recognises repeats. Redis does none of that.
- "Pipelined": one connection, all messages that are in flight in one write: the best case of Redis,
  and not how separate publishers reach it. "Connections": one per publisher, by redis-benchmark.
  Either way Redis runs in a process of its own, on the other core, and its client beside ours.
  Tidelog's publishers are tasks in the broker's own process, without a socket; they cost its
  interpreter about half of the time per message. CPU is this process's time per message; for Redis
  that would be its client's, so it is not shown.
- The p99 of "connections" is the median over turns of what redis-benchmark reports.
- Bytes per message: for Tidelog bytes handed to write calls (`wchar`), LMDB writes whole 4 KiB
  pages; for Redis the growth of its append-only file. Not `write_bytes`, which counts whole large
  folios on ext4.
- The channels exist before the first turn. The log grows from turn to turn, as Redis' memory
  does.
- The busy thread is in this process: it slows the pipelined client of Redis down too, and takes one
  of the cores from Redis and redis-benchmark.
"""
INTERVALS_MS = (5.0, 0.5, 0.1)
DEFAULT_INTERVAL_MS = LogSettings().switch_interval_us / 1_000
_BARE_BATCH = 100
_COLUMNS = (
    "contender",
    "msg/s",
    "p50 ms",
    "p99 ms",
    "bytes/msg",
    "msg/commit",
    "CPU us/msg",
    "x pipelined",
    "x connections",
)


async def run(work: Path, scale: Scale) -> list[Table]:
    return [
        await _matrix(work, scale),
        await _bare(work, scale),
        await _disturbed(work, scale),
    ]


async def _matrix(work: Path, scale: Scale) -> Table:
    rows: list[list[Cell]] = []
    for channels in scale.channels:
        async with _contenders(work / f"log-{channels}", channels) as contenders:
            for publishers in scale.publishers:
                samples = await in_turn(contenders, publishers, scale)
                rows += [[publishers, channels, *row] for row in _rows(samples)]
    columns = ("publishers", "channels", *_COLUMNS)
    return Table("Waiting publishers of 256-byte messages", columns, rows, _notes())


@asynccontextmanager
async def _contenders(path: Path, channels: int) -> AsyncIterator[list[Contender]]:
    """Ours, and Redis where it is installed."""
    async with tidelog(path / "tidelog", channels) as ours:
        if not redis_peer.installed():
            yield ours
            return
        with redis_peer.redis(path / "redis", channels) as peers:
            yield [*ours, *peers]


async def _bare(work: Path, scale: Scale) -> Table:
    """Storage alone: a domain without projections."""
    path = work / "bare"
    async with (
        bare(path / "1", "100 publishers, 1 message each", 1) as singles,
        bare(path / "100", "1 publisher, 100 messages in a submit", _BARE_BATCH) as batches,
    ):
        one = await in_turn([singles], _BARE_BATCH, scale)
        many = await in_turn([batches], 1, scale)
    rows = [row[:-2] for row in _rows({**one, **many})]
    note = "Aim: 100,000 msg/s at 100 per commit. Latency is a submit's, whatever it holds."
    return Table("Bare records, 100 in a commit", _COLUMNS[:-2], rows, [note])


async def _disturbed(work: Path, scale: Scale) -> Table:
    """The interpreter's switch interval, with the interpreter idle and busy."""
    rows: list[list[Cell]] = []
    async with _contenders(work / "disturbed", 1) as contenders:
        ours, theirs = contenders[0], contenders[2:]
        for busy in (False, True):
            turns = [
                Disturbed(f"tidelog, {ms:g} ms", ours, ms, busy=busy) for ms in INTERVALS_MS
            ] + [Disturbed(peer.name, peer, DEFAULT_INTERVAL_MS, busy=busy) for peer in theirs]
            state = "busy" if busy else "idle"
            for publishers in scale.busy_publishers:
                samples = await in_turn(turns, publishers, scale)
                rows += [[publishers, state, *row] for row in _rows(samples)]
    columns = ("publishers", "interpreter", *_COLUMNS)
    notes = [
        "CPU beside the busy thread includes it.",
        f"The log sets {DEFAULT_INTERVAL_MS:g} ms (`switch_interval_us`); CPython's is 5 ms.",
    ]
    return Table("Switch interval, one channel", columns, rows, notes)


def _rows(samples: dict[str, Sample]) -> Iterator[list[Cell]]:
    peers = [samples.get(peer.name) for peer in redis_peer.PEERS]
    for name, sample in samples.items():
        ours = sample not in peers
        yield [
            name,
            *_measures(sample),
            *(_beside(sample, peer) if ours else None for peer in peers),
        ]


def _measures(sample: Sample) -> Sequence[Cell]:
    return (
        sample.per_second,
        sample.latency_ms(0.5),
        sample.latency_ms(0.99),
        sample.bytes_per_message,
        sample.per_commit,
        sample.cpu_us or None,
    )


def _beside(sample: Sample, peer: Sample | None) -> Cell:
    return ratio(sample.turns, peer.turns) if peer else None


def _notes() -> list[str]:
    return [] if redis_peer.installed() else ["redis-server is not installed: no peer measured."]
