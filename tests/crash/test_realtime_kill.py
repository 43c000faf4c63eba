"""SIGKILL of a serving broker under publishers, subscribers and members; they all come back.

Fault model: the process dies between any two instructions, some of what it accepted was never
answered, and what it answered was perhaps never read. It starts again on the same directory and
port. Then: each client has the connection it had; what was not acknowledged is sent again and
acknowledged with the serial it has; each subscriber heard each message once, in one order, which is
the history's; nobody counts as attached before they are; members whose client came back never left,
the others leave by events after their delay.

TIDELOG_REALTIME_KILLS=50 kills more often. A seed fixes when to kill, not the scheduler.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from api.realtime.protocol import Action
from broker.channels.modes import Mode
from tests.conformance.serving import KEY, ServerProcess
from tests.crash.realtime_clients import STUCK_S, Client, Publisher, Subscriber
from tests.crash.require import knob

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

KILLS = knob("TIDELOG_REALTIME_KILLS", 4)
SEED = knob("TIDELOG_SEED", random.SystemRandom().randrange(1 << 32))
LEAVE_DELAY_MS = 3_000
ACKS_PER_LIFE_MAX = 400
LISTENS = Mode.SUBSCRIBE | Mode.PRESENCE_SUBSCRIBE | Mode.PRESENCE


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    options = ("--set", f"broker.presence_leave_delay_ms={LEAVE_DELAY_MS}")
    process = ServerProcess(tmp_path / "data", tls=False, options=options)
    process.start()
    yield process
    process.stop()
    process.check()


class Story:
    """Clients of one channel over the lives of its broker."""

    def __init__(self, server: ServerProcess, channel: str = "c") -> None:
        self.server = server
        self.channel = channel
        self.publishers = [Publisher(f"p{n}", channel, Mode.PUBLISH) for n in range(3)]
        self.subscribers = [Subscriber(f"s{n}", channel, LISTENS) for n in range(2)]
        self.ghosts: set[str] = set()

    @property
    def clients(self) -> list[Client]:
        return [*self.subscribers, *self.publishers]

    @property
    def acked(self) -> int:
        return sum(len(publisher.acked) for publisher in self.publishers)

    async def connect(self) -> None:
        async with trio.open_nursery() as nursery:
            for client in self.clients:
                nursery.start_soon(client.connect, self.server.port)

    async def enter(self, client: Client) -> None:
        await client.send(
            Action.PRESENCE, channel=self.channel, msgSerial=0, presence=[{"action": 2}]
        )
        while (message := await client.next())["action"] != Action.ACK:
            client.heard(message)

    async def haunt(self, name: str) -> None:
        """A member that will never come back."""
        ghost = Subscriber(name, self.channel, LISTENS)
        await ghost.connect(self.server.port)
        await self.enter(ghost)
        await ghost.drop()
        self.ghosts.add(name)

    async def live_and_die(self, acks: int) -> None:
        """Work until so much more was acknowledged, then the kill; all transports end with it."""
        enough = self.acked + acks
        async with trio.open_nursery() as nursery:
            for subscriber in self.subscribers:
                nursery.start_soon(subscriber.listen)
            for publisher in self.publishers:
                nursery.start_soon(publisher.work)
            while self.acked < enough:
                await self.publishers[0].room.wait()
            await trio.to_thread.run_sync(self.server.kill)
        for client in self.clients:
            await client.drop()

    async def finish(self) -> None:
        """Everything that is in doubt is sent again, acknowledged, and heard."""
        total = sum(publisher.sent for publisher in self.publishers)
        async with trio.open_nursery() as nursery:
            for client in self.clients:
                nursery.start_soon(client.listen)
            for publisher in self.publishers:
                await publisher.send_again()
                await publisher.until_acknowledged()
            for subscriber in self.subscribers:
                await subscriber.until_received(total)
                await subscriber.until_left(self.ghosts)
            nursery.cancel_scope.cancel()

    def check(self, kills: int = KILLS) -> None:
        published = {
            f"{publisher.name}-{number}": serial
            for publisher in self.publishers
            for number, serial in publisher.acked.items()
        }
        first, *others = (subscriber.received for subscriber in self.subscribers)
        assert dict(first) == published
        assert len(first) == len(published)
        assert [serial for _, serial in first] == sorted(serial for _, serial in first)
        for received in others:
            assert received == first
        for publisher in self.publishers:
            assert publisher.nacked == []
            mine = [name for name, _ in first if name.startswith(f"{publisher.name}-")]
            assert mine == [f"{publisher.name}-{number}" for number in range(publisher.sent)]
        for client in self.clients:
            assert client.resumed == kills


class Rest:
    def __init__(self, server: ServerProcess) -> None:
        name, _, secret = KEY.partition(":")
        url = f"http://localhost:{server.port}"
        self._client = httpx.AsyncClient(
            base_url=url,
            auth=(name, secret),
            timeout=30,
            limits=httpx.Limits(max_keepalive_connections=0),  # one may be to who is just killed
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def get(self, path: str) -> Any:
        reply = await self._client.get(path)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def occupancy(self, channel: str) -> tuple[int, int]:
        """(connections, presence members)."""
        metrics = (await self.get(f"/channels/{channel}"))["status"]["occupancy"]["metrics"]
        return metrics["connections"], metrics["presenceMembers"]

    async def until_attached(self, channel: str, count: int) -> None:
        """ATTACHED does not wait for the disk, so counts follow it a little later."""
        with trio.fail_after(STUCK_S):
            while (await self.occupancy(channel))[0] != count:
                pass

    async def members(self, channel: str) -> set[str]:
        return {item["clientId"] for item in await self.get(f"/channels/{channel}/presence")}

    async def serials(self, channel: str) -> list[str]:
        return [item["serial"] for item in await self.items(channel)]

    async def items(self, channel: str) -> list[Any]:
        """All of a channel's history, oldest first."""
        found: list[Any] = []
        path: httpx.URL | str | None = f"/channels/{channel}/messages?direction=forwards&limit=500"
        while path is not None:
            reply = await self._client.get(path)
            assert reply.status_code == 200, reply.text
            found += reply.json()
            following = reply.links.get("next")
            path = reply.url.join(following["url"]) if following else None
        return found


async def test_everybody_comes_back(server: ServerProcess) -> None:
    print(f"TIDELOG_SEED={SEED} TIDELOG_REALTIME_KILLS={KILLS}")
    chance = random.Random(SEED)
    story, rest = Story(server), Rest(server)
    await story.connect()
    for subscriber in story.subscribers:
        await story.enter(subscriber)
    stays = {subscriber.name for subscriber in story.subscribers}
    for life in range(KILLS):
        if life % 2 == 0:
            await story.haunt(f"ghost{life}")
        await story.live_and_die(chance.randint(1, ACKS_PER_LIFE_MAX))
        await trio.to_thread.run_sync(server.start)
        before = await rest.members("c")
        assert stays <= before <= stays | story.ghosts
        assert await rest.occupancy("c") == (0, len(before))
        await story.connect()
    await rest.until_attached("c", len(story.clients))
    await story.finish()
    story.check()
    for subscriber in story.subscribers:
        assert not stays & set(subscriber.left)
    assert await rest.members("c") == stays
    assert await rest.serials("c") == [serial for _, serial in story.subscribers[0].received]
    for client in story.clients:
        await client.drop()
    await rest.close()
