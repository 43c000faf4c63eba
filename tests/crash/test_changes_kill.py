"""SIGKILL of a serving broker under clients that append to one message and annotate it.

Fault model: as in test_realtime_kill. What was not acknowledged is sent again: each append is in
the text once, each annotation counts once, each is acknowledged with the serial it got first, and
who listens all the while ends with the text and summary that the broker has, and never saw another
text.

TIDELOG_REALTIME_KILLS=50 kills more often. A seed fixes when to kill, not the scheduler.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trio

from api.realtime.protocol import Action
from broker.channels.modes import Mode
from broker.interactions.state import APPEND
from tests.conformance.serving import KEY, ServerProcess
from tests.crash.realtime_clients import STUCK_S, Client, Message, Publisher
from tests.crash.require import knob

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

KILLS = knob("TIDELOG_REALTIME_KILLS", 4)
SEED = knob("TIDELOG_SEED", random.SystemRandom().randrange(1 << 32))
ACKS_PER_LIFE_MAX = 300
CHANNEL = "m:c"
SUMMARY = 4
LISTENS = Mode.SUBSCRIBE | Mode.ANNOTATION_SUBSCRIBE
CONFIGURATION = """
[[apps]]
id = "conform"

[[namespaces]]
id = "m"
app = "conform"
mutable_messages = true
"""


@dataclass
class Changer(Publisher):
    """Appends numbered tokens to a message; every third time it annotates it instead."""

    of: str = ""

    @property
    def annotated(self) -> list[int]:
        return [serial for serial in range(self.sent) if serial % 3 == 2]

    @property
    def tokens(self) -> list[str]:
        return [self.token(serial) for serial in range(self.sent) if serial % 3 != 2]

    def token(self, serial: int) -> str:
        return f"<{self.name}-{serial}>"

    async def publish(self, serial: int) -> None:
        if serial % 3 == 2:
            one = {"messageSerial": self.of, "action": 0, "type": "t:multiple.v1", "name": "x"}
            await self.send(
                Action.ANNOTATION, channel=self.channel, msgSerial=serial, annotations=[one]
            )
            return
        message = {"serial": self.of, "action": APPEND, "data": self.token(serial)}
        await self.send(Action.MESSAGE, channel=self.channel, msgSerial=serial, messages=[message])


@dataclass
class Reader(Client):
    """Keeps the text and the summary as an SDK's user does. `texts`: every one that it showed."""

    text: str = ""
    texts: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    annotations: list[str] = field(default_factory=list)
    news: trio.Event = field(default_factory=trio.Event)

    def heard(self, message: Message) -> None:
        for item in message.get("messages", []):
            if item["action"] == SUMMARY:
                summed = item["annotations"]["summary"]["t:multiple.v1"]["x"]
                self.counts = summed["clientCounts"]
                continue
            self.text = self.text + item["data"] if item["action"] == APPEND else item["data"]
            self.texts.append(self.text)
        self.annotations += [one["serial"] for one in message.get("annotations", [])]
        if message["action"] in (Action.MESSAGE, Action.ANNOTATION):
            self.channel_serial = message["channelSerial"]
        self.news.set()
        self.news = trio.Event()

    async def until(self, text: str, counts: dict[str, int]) -> None:
        with trio.fail_after(STUCK_S):
            while (self.text, self.counts) != (text, counts):
                await self.news.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    file = tmp_path / "tidelog.toml"
    file.write_text(CONFIGURATION)
    room = ("--set", "broker.message_bytes_max=10000000")  # for the one that only grows
    process = ServerProcess(tmp_path / "data", tls=False, options=("--config", str(file), *room))
    process.start()
    yield process
    process.stop()
    process.check()


class Story:
    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.changers = [
            Changer(f"c{n}", CHANNEL, Mode.PUBLISH | Mode.ANNOTATION_PUBLISH) for n in range(3)
        ]
        self.readers = [Reader(f"r{n}", CHANNEL, LISTENS) for n in range(2)]
        name, _, secret = KEY.partition(":")
        url = f"http://localhost:{server.port}/channels/{quote(CHANNEL)}"
        self.rest = httpx.AsyncClient(base_url=url, auth=(name, secret), timeout=30)

    @property
    def clients(self) -> list[Client]:
        return [*self.readers, *self.changers]

    @property
    def acked(self) -> int:
        return sum(len(changer.acked) for changer in self.changers)

    async def ask(self, path: str) -> Any:
        reply = await self.rest.get(path)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def begin(self) -> None:
        reply = await self.rest.post("/messages", json={"data": ""})
        (self.of,) = reply.json()["serials"]
        for changer in self.changers:
            changer.of = self.of

    async def connect(self) -> None:
        async with trio.open_nursery() as nursery:
            for client in self.clients:
                nursery.start_soon(client.connect, self.server.port)

    async def live_and_die(self, acks: int) -> None:
        enough = self.acked + acks
        async with trio.open_nursery() as nursery:
            for reader in self.readers:
                nursery.start_soon(reader.listen)
            for changer in self.changers:
                nursery.start_soon(changer.work)
            while self.acked < enough:
                await self.changers[0].room.wait()
            await trio.to_thread.run_sync(self.server.kill)
        for client in self.clients:
            await client.drop()

    async def finish(self) -> None:
        """Everything that is in doubt is sent again, acknowledged, and heard."""
        counts = {changer.name: len(changer.annotated) for changer in self.changers}
        async with trio.open_nursery() as nursery:
            for client in self.clients:
                nursery.start_soon(client.listen)
            for changer in self.changers:
                await changer.send_again()
                await changer.until_acknowledged()
            found = await self.ask(f"/messages/{quote(self.of)}")
            for reader in self.readers:
                await reader.until(found["data"], counts)
            nursery.cancel_scope.cancel()
        summed = found["annotations"]["summary"]["t:multiple.v1"]["x"]
        assert summed["clientCounts"] == counts
        self.check_text(found["data"])

    def check_text(self, text: str) -> None:
        for changer in self.changers:
            assert changer.nacked == []
            assert re.findall(f"<{changer.name}-\\d+>", text) == changer.tokens
        assert len(text) == sum(len("".join(changer.tokens)) for changer in self.changers)
        for reader in self.readers:
            assert all(text.startswith(seen) for seen in reader.texts)
            assert sorted(reader.texts, key=len) == reader.texts
        for client in self.clients:
            assert client.resumed == KILLS

    async def check_annotations(self) -> None:
        """Listed once each, under the serials that were acknowledged, and told once each."""
        listed: list[str] = []
        path: Any = f"/messages/{quote(self.of)}/annotations?limit=500"
        while path is not None:
            reply = await self.rest.get(path)
            listed += [one["serial"] for one in reply.json()]
            following = reply.links.get("next")
            path = reply.url.join(following["url"]) if following else None
        acked = sorted(
            changer.acked[number] for changer in self.changers for number in changer.annotated
        )
        assert listed == acked
        for reader in self.readers:
            assert reader.annotations == listed


async def test_changes_and_annotations_happen_once(server: ServerProcess) -> None:
    print(f"TIDELOG_SEED={SEED} TIDELOG_REALTIME_KILLS={KILLS}")
    chance = random.Random(SEED)
    story = Story(server)
    await story.begin()
    await story.connect()
    for _ in range(KILLS):
        await story.live_and_die(chance.randint(1, ACKS_PER_LIFE_MAX))
        await trio.to_thread.run_sync(server.start)
        await story.connect()
    await story.finish()
    await story.check_annotations()
    for client in story.clients:
        await client.drop()
    await story.rest.aclose()
