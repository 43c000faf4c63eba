"""A restore drill: under live publishers the directory is backed up again and again, and then lost.

The broker starts on what `tidelog restore` made of a backup, at the same port, and its clients come
back. Then: everything that was acknowledged before the backup began is there, under its serial, and
nothing is there twice; no serial of the lost time is given out again; whoever stands in the lost
time is told so on its channel, whoever stands before it goes on as if nothing had happened, and a
connection that the backup does not know is a new one. What is sent again is published once.

A seed fixes which backup it is, not the scheduler.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from api.realtime.protocol import RESUMED, Action
from broker.channels.modes import Mode
from tests.conformance.serving import ServerProcess
from tests.crash.realtime_clients import STUCK_S, Client, Message, Publisher, Subscriber
from tests.crash.require import knob
from tests.crash.test_realtime_kill import Rest
from tests.documents import ROOT

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

SEED = knob("TIDELOG_SEED", random.SystemRandom().randrange(1 << 32))
BACKUPS = 2
ACKS_BETWEEN = 100
UNRECOVERABLE = 90003
INVALID_KEY = 80018
LISTENS = Mode.SUBSCRIBE | Mode.PRESENCE_SUBSCRIBE | Mode.PRESENCE


class Told(Client):
    """A client that keeps what it is told when it comes back."""

    error: dict[str, Any] | None = None
    is_resumed = False

    async def attach(self) -> None:
        again = {"channelSerial": self.channel_serial} if self.channel_serial else {}
        await self.send(Action.ATTACH, channel=self.channel, flags=self.modes, **again)
        while (attached := await self.next())["action"] != Action.ATTACHED:
            self.heard(attached)
        self.error = attached.get("error")
        self.is_resumed = bool(attached["flags"] & RESUMED)
        self.channel_serial = attached["channelSerial"]


class Author(Told, Publisher):
    def heard(self, message: Message) -> None:
        super().heard(message)
        if message["action"] == Action.MESSAGE:
            self.channel_serial = message["channelSerial"]

    async def send_again(self) -> None:
        for serial in self.in_doubt:
            await self.publish(serial)


class Reader(Told, Subscriber):
    pass


class Drill:
    def __init__(self, server: ServerProcess, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.authors = [Author(f"p{n}", "busy", Mode.PUBLISH | Mode.SUBSCRIBE) for n in range(3)]
        self.reader = Reader("reader", "busy", LISTENS)
        self.quiet = Reader("quiet", "quiet", LISTENS)
        self.late = Reader("late", "busy", LISTENS)
        self.backups: list[tuple[Path, int, dict[str, str]]] = []

    @property
    def readers(self) -> list[Reader]:
        return [self.reader, self.quiet]

    @property
    def acked(self) -> dict[str, str]:
        """Serial by name, of what was acknowledged."""
        return {
            f"{author.name}-{number}": serial
            for author in self.authors
            for number, serial in author.acked.items()
        }

    async def connect(self) -> None:
        for client in (*self.authors, *self.readers):
            await client.connect(self.server.port)

    async def back_up(self) -> None:
        """Of what was acknowledged before, everything is to be in it."""
        target, acked = self.directory / f"backup-{len(self.backups)}", self.acked
        said = await trio.to_thread.run_sync(self.server.operator, "backup", str(target), "--json")
        self.backups.append((target, json.loads(said)["position"], acked))

    async def until_acked(self, more: int) -> None:
        enough = len(self.acked) + more
        with trio.fail_after(STUCK_S):
            while len(self.acked) < enough:
                await self.authors[0].room.wait()

    async def work_and_lose_everything(self) -> None:
        async with trio.open_nursery() as nursery:
            for reader in self.readers:
                nursery.start_soon(reader.listen)
            for author in self.authors:
                nursery.start_soon(author.work)
            for _ in range(BACKUPS):
                await self.until_acked(ACKS_BETWEEN)
                await self.back_up()
            await self.late.connect(self.server.port)
            await self.until_acked(ACKS_BETWEEN)
            await trio.to_thread.run_sync(self.server.kill)
        for client in (*self.authors, *self.readers, self.late):
            await client.drop()
        shutil.rmtree(self.server.data)

    def restore(self, backup: Path) -> None:
        command = [sys.executable, "-m", "api.cli", "restore", str(backup)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [*command, "--data", str(self.server.data)],
            env=environment,
            check=True,
            capture_output=True,
        )
        self.server.start()

    async def go_on(self) -> None:
        """What is in doubt is sent again, and more is published."""
        async with trio.open_nursery() as nursery:
            for client in (*self.authors, *self.readers):
                nursery.start_soon(client.listen)
            for author in self.authors:
                await author.send_again()
                author.sent += 1
                await author.publish(author.sent - 1)
                await author.until_acknowledged()
            nursery.cancel_scope.cancel()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path / "data", tls=False)
    process.start()
    yield process
    process.stop()
    process.check()


def position_of(serial: str) -> int:
    """As the log counts: 44 bits of milliseconds, 10 of counter, 10 of index."""
    head, _, index = serial.partition(":")
    ms, counter = head.partition("@")[0].split("-")
    return int(ms) << 20 | int(counter) << 10 | int(index)


async def test_a_restored_broker_is_honest(server: ServerProcess, tmp_path: Path) -> None:
    print(f"TIDELOG_SEED={SEED}")
    drill, rest = Drill(server, tmp_path), Rest(server)
    await drill.connect()
    connections = [author.id for author in drill.authors]
    await drill.work_and_lose_everything()
    before_loss, doubtful = drill.acked, [author.in_doubt for author in drill.authors]
    backup, position, kept = random.Random(SEED).choice(drill.backups)
    lost = {s for s in before_loss.values() if position_of(s) > position}
    assert len(lost) >= ACKS_BETWEEN

    await trio.to_thread.run_sync(drill.restore, backup)
    await drill.connect()
    assert [author.id for author in drill.authors] == connections
    for client in (*drill.authors, drill.reader):
        assert not client.is_resumed
        assert client.error
        assert client.error["code"] == UNRECOVERABLE, client.error
    assert (drill.quiet.is_resumed, drill.quiet.error) == (True, None)
    await _is_a_new_connection(drill.late, server.port)

    heard_before = len(drill.reader.received)
    await drill.go_on()
    published = await _history(rest, "busy")
    names = [name for name, _ in published]
    assert len(names) == len(set(names))
    there = dict(published)
    assert there.items() >= kept.items()
    fresh = {name: serial for name, serial in drill.acked.items() if name not in before_loss}
    assert len(fresh) == sum(map(len, doubtful)) + len(drill.authors)
    assert there.items() >= fresh.items()
    assert there.keys() <= before_loss.keys() | fresh.keys()
    assert not lost & set(there.values())
    assert min(map(position_of, fresh.values())) > max(map(position_of, lost))
    heard = drill.reader.received[heard_before:]
    assert heard == sorted(heard, key=lambda item: item[1])
    for client in (*drill.authors, *drill.readers):
        await client.drop()
    await rest.close()


async def _is_a_new_connection(client: Reader, port: int) -> None:
    """The backup is from before it was opened."""
    known, client.id = client.id, ""
    with pytest.raises(AssertionError) as refused:
        await client.connect(port)
    assert str(INVALID_KEY) in str(refused.value)
    assert known not in str(refused.value)
    await client.drop()


async def _history(rest: Rest, channel: str) -> list[tuple[str, str]]:
    """(name, serial) of all of it, oldest first."""
    return [(item["name"], item["serial"]) for item in await rest.items(channel)]
