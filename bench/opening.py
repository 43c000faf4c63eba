"""`open`: how long a large data directory takes to open and to fold again, and in what memory.

Each is measured in a fresh process, `python -m bench.opening <what> <directory>`, that prints what
it found as JSON: memory of a process that did something else before says nothing.
"""

import os
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread
from time import perf_counter
from types import TracebackType

import msgspec
import trio

import broker
from bench.acknowledged import Wrong
from bench.filling import directory
from bench.measuring import percentile
from bench.scale import Scale
from bench.tables import Cell, Table

TITLE = "opening a large data directory, and folding it again"
CAVEATS = """\
- Opening is the whole of `broker.open` in a new process, with the check that runs in a child
  process; what the interpreter and its imports take comes before. First ACK: a publish right
  after, from the call of `open`.
- Cold: the kernel was asked to drop the file from its cache (POSIX_FADV_DONTNEED) just before.
  Warm: the file was read whole just before. A cold rebuild waits for the disk, page by page.
- Memory: anonymous is what the process allocated; the rest of the resident set is pages of the
  map, which the kernel may take back any time. Peaks, sampled every 10 ms.
"""
AIMS = "Aims: open in at most 1 s; rebuild at least 100,000 events/s."
_SAMPLE_S = 0.01
_READ_BYTES = 1 << 20
_TURNS = ("open, cold", "open, warm", "rebuild, cold", "rebuild, warm")
_ROOT = Path(__file__).parent.parent


class Found(msgspec.Struct):
    """What a child measured. Memory in KiB, at its peak while it worked, and before."""

    seconds: float
    first_ack_s: float
    events: int
    rss_before: int
    rss: int
    anonymous: int


class _Memory:
    """Peaks of resident and anonymous memory while it is entered."""

    def __init__(self) -> None:
        self.before, _ = _resident()
        self.rss = self.anonymous = 0
        self._stop = Event()
        self._thread = Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "_Memory":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(_SAMPLE_S)
            rss, anonymous = _resident()
            self.rss, self.anonymous = max(self.rss, rss), max(self.anonymous, anonymous)


def _resident() -> tuple[int, int]:
    """(VmRSS, RssAnon) in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = {line.split(":")[0]: line.split()[1] for line in lines if " kB" in line}
    return int(values["VmRSS"]), int(values["RssAnon"])


async def measure(what: str, path: Path) -> Found:
    """Open the directory, and with `rebuild` fold it again."""
    with _Memory() as memory:
        began = perf_counter()
        async with broker.open(path) as opened:
            seconds = perf_counter() - began
            if what == "open":
                await opened.channel("bench:first").publish("first ack", "after opening")
            first_ack_s = perf_counter() - began
            events = await opened.log.in_thread(lambda reader: reader.entries("log"))
            if what == "rebuild":
                began = perf_counter()
                await opened.rebuild()
                seconds = perf_counter() - began
    return Found(seconds, first_ack_s, events, memory.before, memory.rss, memory.anonymous)


def _in_a_process(what: str, path: Path, *, cold: bool) -> Found:
    _cache(path / "data.mdb", cold=cold)
    command = [sys.executable, "-m", "bench.opening", what, str(path)]
    ran = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise Wrong(f"{what} failed:\n{ran.stderr}")
    return msgspec.json.decode(ran.stdout, type=Found)


def _cache(path: Path, *, cold: bool) -> None:
    """Have the kernel drop a file from its cache, or have it whole there."""
    handle = os.open(path, os.O_RDONLY)
    try:
        if cold:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        while not cold and os.read(handle, _READ_BYTES):
            pass
    finally:
        os.close(handle)


async def run(work: Path, scale: Scale) -> list[Table]:
    messages, channels = scale.opened
    path = work / "open"
    await directory(path, channels, messages)
    return await trio.to_thread.run_sync(_tables, path, messages, channels, scale.rounds)


def _tables(path: Path, messages: int, channels: int, rounds: int) -> list[Table]:
    found: dict[str, list[Found]] = {name: [] for name in _TURNS}
    for _ in range(rounds):
        for name, turns in found.items():
            what, _, cache = name.partition(", ")
            turns.append(_in_a_process(what, path, cold=cache == "cold"))
    events = found[_TURNS[-1]][-1].events
    if events < messages + channels:
        raise Wrong(f"the log holds {events} events, not {messages + channels}")
    size = (path / "data.mdb").stat().st_size >> 20
    title = f"{messages:,} messages in {channels:,} channels, {size:,} MiB"
    columns = ("what", "median s", "slowest s", "first ACK s", "events/s", "RSS MiB")
    rows = [_row(name, turns) for name, turns in found.items()]
    return [Table(title, (*columns, "anonymous MiB", "RSS before MiB"), rows, [AIMS])]


def _row(name: str, turns: list[Found]) -> list[Cell]:
    seconds = percentile([turn.seconds for turn in turns], 0.5)
    ack = percentile([turn.first_ack_s for turn in turns], 0.5)
    rebuilt = name.startswith("rebuild")
    return [
        name,
        seconds,
        max(turn.seconds for turn in turns),
        None if rebuilt else ack,
        turns[-1].events / seconds if rebuilt else None,
        max(turn.rss for turn in turns) / 1024,
        max(turn.anonymous for turn in turns) / 1024,
        turns[0].rss_before / 1024,
    ]


if __name__ == "__main__":
    found = trio.run(measure, sys.argv[1], Path(sys.argv[2]))
    sys.stdout.write(msgspec.json.encode(found).decode())
