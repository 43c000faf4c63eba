"""Writes a data directory with everything in it, to be opened by every later version:

    python -m tests.releases.write tests/fixtures/release-0.1.0

It is written over the real APIs in several runs of the broker, so that it holds what a restart
leaves behind, restored once from a backup, compacted, and asked. The answers are in answers.json
beside the log, with the moment at which to ask; the clock stands still meanwhile. All secrets in it
were made for it.
"""

import shutil
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import trio

from api.push.vapid import KEY_FILE as VAPID_KEY_FILE
from broker import BrokerSettings, offline
from broker.events import ChannelClosed, ConnectionExpired
from broker.push.events import DeliverySettled, PublishProgressed
from broker.push.key_chain import month_at
from storage import LogSettings
from tests.releases import writing
from tests.releases.asking import Question, served
from tests.releases.writing import Writer

BEGAN_MS = int(datetime(2026, 11, 2, 10, 0, 30, tzinfo=UTC).timestamp() * 1000)
MINUTE_MS = 60_000
BRIEF = BrokerSettings(channel_idle_ms=1, connection_state_ttl_ms=1, presence_leave_delay_ms=1)
WITHOUT = ("lock.mdb", "writer.lock", "admin.sock")
ANSWERS = "answers.json"


class Release(msgspec.Struct):
    """What is known of a directory. `now_ms`: the moment to ask at; `auth`: headers that may do
    everything; `connection`: one that may be resumed."""

    now_ms: int
    auth: dict[str, str]
    connection: dict[str, Any]
    questions: list[Question]


async def _begin(path: Path) -> list[Question]:
    """What clients do, and then what comes of it by itself."""
    async with served(path, BEGAN_MS) as directory:
        writer = Writer(directory, BEGAN_MS)
        await writing.tenancy(writer)
        await writing.messages(writer)
        await writing.changing_messages(writer)
        await writing.push(writer)
        await writing.beams(writer)
        await writing.matrix(writer, month_at(BEGAN_MS, UTC))
        await writing.worker(writer)
        await writing.left_behind(writer)
    async with served(path, BEGAN_MS + 10 * MINUTE_MS, BRIEF, delivers=True) as directory:
        await directory.until(ChannelClosed, ConnectionExpired, PublishProgressed)
    return writer.questions


def _lose_and_restore(path: Path) -> None:
    """As an operator does, so that the log knows of a loss."""
    backup = path.with_name("backup")
    offline.backup(path, backup, LogSettings(), (VAPID_KEY_FILE,))
    shutil.rmtree(path)
    offline.restore(backup, path, LogSettings())


async def _end(path: Path, questions: list[Question]) -> Release:
    """What is past its time, and who is there when it ends."""
    now_ms = BEGAN_MS + 20 * MINUTE_MS
    async with served(path, now_ms, delivers=True) as directory:
        writer = Writer(directory, now_ms)
        await directory.until(DeliverySettled)
        await writing.tokens(writer)
        await writing.purged(writer)
        await writing.usage(writer)
        assert await directory.broker.sweep()
        connection = await writing.connections(writer)
        asked = questions + writer.questions
        return Release(now_ms + MINUTE_MS, writer.auth, connection, asked)


async def _ask(path: Path, release: Release) -> None:
    async with served(path, release.now_ms) as directory:
        for question in release.questions:
            question.status, question.answer = await directory.ask(question)


def write(target: Path) -> None:
    with TemporaryDirectory() as directory:
        path, copy = Path(directory) / "data", Path(directory) / "copy"
        questions = trio.run(_begin, path)
        _lose_and_restore(path)
        release = trio.run(_end, path, questions)
        offline.compact(path, LogSettings())
        for name in WITHOUT:
            with suppress(FileNotFoundError):
                (path / name).unlink()
        shutil.copytree(path, copy)
        trio.run(_ask, copy, release)
        (path / ANSWERS).write_bytes(msgspec.json.format(msgspec.json.encode(release), indent=1))
        shutil.copytree(path, target)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
