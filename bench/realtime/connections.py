"""`connections`: what an idle one costs, and how soon all are back after kill -9."""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, sleep

import trio

from bench.acknowledged import Wrong
from bench.measuring import percentile
from bench.realtime import sizes
from bench.realtime.frames import RESUMED
from bench.realtime.peers import notes, peer_wires
from bench.realtime.process import anonymous_kib, cpu_seconds, raise_open_files, resident_kib
from bench.realtime.server import Server, serving
from bench.realtime.sessions import Session, open_sessions
from bench.realtime.sizes import RealtimeScale
from bench.realtime.wires import Wire
from bench.scale import Scale
from bench.tables import Cell, Table

TITLE = "idle attached connections, and all of them again after kill -9"
CAVEATS = """\
- KiB per connection: the growth of the broker's process (VmRSS; anonymous: without the pages of
  files, so without LMDB's map) from the first connections to all of them, divided by their
  number. What the kernel holds for a socket is in neither.
- Idle: clients send nothing; the server sends each a heartbeat every 15 s.
- Tidelog: JSON, every connection attached to one of the channels. Peers: a connection that
  subscribes to one channel; they keep no connection over a restart.
- After the restart all connect at once, from one client process on the other core, and resume with
  their connection key; each attaches its channel from the last channelSerial. "Resumed" is the
  ATTACHED with the RESUMED flag. The server's start is an interpreter's, its imports included.
"""
_AT_ONCE = 100
_IDLE_COLUMNS = (
    "contender",
    "connections",
    "RSS KiB each",
    "anonymous KiB each",
    "RSS MiB before",
    "idle CPU ms/s",
    "opened/s",
)
_RESTART_COLUMNS = (
    "listening after s",
    "median resumed s",
    "p99 resumed s",
    "all resumed s",
    "from the kill s",
    "CPU us each",
    "refused attempts",
    "same connectionId",
)


async def run(work: Path, scale: Scale) -> list[Table]:
    size = sizes.of(scale)
    raise_open_files()
    await trio.lowlevel.checkpoint()
    with serving(work / "tidelog") as server:
        sessions = [Session(f"idle-{n % size.channels}") for n in range(size.connections)]
        idle = _tidelog_row(server, sessions, size)
        restarts = [_restart(server, sessions) for _ in range(scale.rounds)]
        _close(sessions)
    with peer_wires(work / "peers") as peers:
        idle_rows = [idle, *(_peer_row(peer, size) for peer in peers)]
    return [
        Table(f"Idle, in {size.channels:,} channels", _IDLE_COLUMNS, idle_rows, notes()),
        Table(f"{size.connections:,} connections after kill -9", _RESTART_COLUMNS, restarts),
    ]


def _tidelog_row(server: Server, sessions: list[Session], size: RealtimeScale) -> list[Cell]:
    first, rest = sessions[: size.first_connections], sessions[size.first_connections :]
    open_sessions(server.port, first, at_once=_AT_ONCE)
    growth = _Growth(server.pid)
    opened = open_sessions(server.port, rest, at_once=_AT_ONCE)
    return ["tidelog", *growth.row(len(rest), size), len(rest) / opened.after_s[-1]]


def _peer_row(wire: Wire, size: RealtimeScale) -> list[Cell]:
    sockets = wire.subscribers("idle", size.first_connections)
    growth, began = _Growth(wire.pid), perf_counter()
    added = size.connections - size.first_connections
    sockets += wire.subscribers("idle", added)
    elapsed = perf_counter() - began
    row = [wire.name, *growth.row(added, size), added / elapsed]
    for one in sockets:
        one.close()
    return row


class _Growth:
    """Of a process, from now on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = self._memory()

    def row(self, added: int, size: RealtimeScale) -> list[Cell]:
        after, cpu = self._memory(), cpu_seconds(self._pid)
        sleep(size.idle_s)
        idle_ms = (cpu_seconds(self._pid) - cpu) / size.idle_s * 1e3
        each = [(now - then) / added for now, then in zip(after, self._before, strict=True)]
        return [size.connections, *each, self._before[0] / 1024, idle_ms]

    def _memory(self) -> tuple[int, int]:
        return resident_kib(self._pid), anonymous_kib(self._pid)


def _restart(server: Server, sessions: Sequence[Session]) -> list[Cell]:
    began = perf_counter()
    server.kill()
    _close(sessions)
    server.start()
    listening = perf_counter() - began
    cpu = cpu_seconds(server.pid)
    opened = open_sessions(server.port, sessions, at_once=len(sessions))
    cpu = cpu_seconds(server.pid) - cpu
    if not_resumed := [one for one in sessions if not one.flags & RESUMED]:
        raise Wrong(f"{len(not_resumed)} attachments were not resumed")
    return [
        listening,
        percentile(opened.after_s, 0.5),
        percentile(opened.after_s, 0.99),
        opened.after_s[-1],
        listening + opened.after_s[-1],
        cpu / len(sessions) * 1e6,
        opened.refused,
        sum(one.kept_id for one in sessions),
    ]


def _close(sessions: Sequence[Session]) -> None:
    for one in sessions:
        if one.socket is not None:
            one.socket.close()
