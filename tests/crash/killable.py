"""The writers that get killed, and the zygote that forks them (see zygote.py). Never imported by
the tests' process.

A writer opens the log with `open_log` itself; only the check that runs in a child process is run in
a fork instead of a new interpreter. It first sends again what its predecessor died over, and some
of what was acknowledged long ago, then fresh posts, from many tasks at once and for ever. Beside
the lines of workload.py it says `M` when a trim or a rebuild begins and `m` when it has ended.
"""

import json
import os
import random
import socket
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NoReturn

import trio

from storage import Log, open_log, opening, probe
from storage.rebuild import rebuild
from storage.retention import Retention
from tests.crash.workload import real_ms, say, send
from tests.crash.zygote import LINE_BYTES
from tests.storage.ledger import ledger

REBUILD_RECORDS = 100


@dataclass
class Life:
    """What one writer does until it is killed."""

    path: str
    first: int
    seed: int
    publishers: int = 200
    again: list[str] = field(default_factory=list)
    trouble: str = ""
    keep: int = 100


async def trims(log: Log, life: Life) -> None:
    await log.sweep(lambda rows, stream: Retention(records=life.keep))


async def rebuilds(log: Log, life: Life) -> None:
    await log.maintain(rebuild(log.domain, REBUILD_RECORDS))


TROUBLES = {f.__name__: f for f in (trims, rebuilds)}


async def trouble(log: Log, life: Life) -> None:
    while True:
        say("M")
        await TROUBLES[life.trouble](log, life)
        say("m")
        await trio.lowlevel.checkpoint()


def ids_of(life: Life) -> Iterator[str]:
    again = deque(life.again)
    while again:
        yield again.popleft()
    for number in count(life.first):
        yield f"kill-{number}"


async def publish(log: Log, ids: Iterator[str], size: random.Random) -> None:
    for id_ in ids:
        await send(log, id_, size.choice((10, 100, 100, 100, 3_000)))


async def live(life: Life) -> None:
    ids, size = ids_of(life), random.Random(life.seed)
    async with (
        open_log(Path(life.path), ledger(), wall=real_ms) as log,
        trio.open_nursery() as nursery,
    ):
        for _ in range(life.publishers):
            nursery.start_soon(publish, log, ids, size)
        if life.trouble:
            nursery.start_soon(trouble, log, life)


def check_in_fork(path: Path) -> None:
    """What storage.opening.probe does, without starting Python again."""
    process = os.fork()
    if process == 0:
        os.dup2(2, 1)  # what it prints is no line of the journal
        os._exit(probe.main(path, "whole"))
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert status == 0, f"the check refuses {path}: {status}"


def become(journal: int, plan: str) -> NoReturn:
    """The forked process turns into a writer."""
    try:
        os.dup2(journal, 1)
        os.close(journal)
        life = Life(**json.loads(plan))
        if (Path(life.path) / "data.mdb").exists():
            check_in_fork(Path(life.path))
        opening.probe = lambda *_, **__: None
        trio.run(live, life)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def serve(control: socket.socket, become: Callable[[int, str], NoReturn]) -> None:
    """The zygote's end: until the parent closes its own, or dies."""
    while True:
        message, files, _, _ = socket.recv_fds(control, LINE_BYTES, 1)
        if not message:
            return
        word, rest = message.decode().split(" ", 1)
        if word == "wait":
            control.send(str(os.waitpid(int(rest), 0)[1]).encode())
            continue
        process = os.fork()
        if process == 0:
            control.close()
            become(files[0], rest)
        os.close(files[0])
        control.send(str(process).encode())


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), become)
