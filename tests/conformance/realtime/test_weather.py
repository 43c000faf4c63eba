"""Bad weather: connections cut and the broker killed at random moments, while both SDKs publish and
subscribe. Each message is there once, in its publisher's order, with the serial of its ACK; each
member is there once.

The seed is printed; `TIDELOG_SEEDS` is how many to try, `TIDELOG_KILLS` how often the broker dies
under each.
"""

import asyncio
import os
import random
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from tests.conformance.on_asyncio import on_asyncio
from tests.conformance.realtime.client import Channel, Client, Received, Refused
from tests.conformance.realtime.proxy import Proxy
from tests.conformance.realtime.rest import Rest
from tests.conformance.realtime.sdk import ONE_WAY_EACH, Sdk, Way
from tests.conformance.serving import ServerProcess

pytestmark = pytest.mark.conformance

KILLS = int(os.environ.get("TIDELOG_KILLS", "2"))
SEEDS = int(os.environ.get("TIDELOG_SEEDS", "1"))
NO_TRANSPORT = 50000
WITHIN_S = 60 + 20 * KILLS


class Weather:
    """Clients, each behind a proxy of its own."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")  # pytest shows it when the test fails
        self.rng = random.Random(seed)
        self.proxies: list[Proxy] = []
        self.published: dict[str, list[asyncio.Task[str | None]]] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Weather":
        await self._stack.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.__aexit__(None, None, None)

    async def client(self, sdk: Sdk, client_id: str | None = None) -> Client:
        proxy = await self._stack.enter_async_context(Proxy(self.server.port))
        self.proxies.append(proxy)
        return await self._stack.enter_async_context(
            sdk.to(self.server).connected(via=proxy, client_id=client_id)
        )

    async def publish(self, who: str, channel: Channel, stop: asyncio.Event) -> None:
        """As a busy application does: some at once, then as fast as they are acknowledged."""
        tasks = self.published.setdefault(who, [])
        while not stop.is_set():
            for _ in range(self.rng.randrange(1, 20)):
                name = f"{who}:{len(tasks)}"
                tasks.append(asyncio.ensure_future(serial_of(channel, name)))
            await asyncio.wait(tasks[-5:])
        for _ in range(2):  # the first may overtake what ably-python sends again, not the second
            while await serial_of(channel, f"{who}:last") is None:
                pass

    async def rage(self) -> None:
        for _ in range(KILLS):
            for _ in range(3):
                await self._pause()
                self.rng.choice(self.proxies).cut()
            held = self.rng.choice(self.proxies)
            held.hold()
            await self._pause()
            await asyncio.to_thread(self.server.kill)
            held.cut()
            held.release()
            await asyncio.to_thread(self.server.start)

    async def _pause(self) -> None:
        """Time passes: the moment is what is random here."""
        await asyncio.sleep(self.rng.random() / 5)


@pytest.mark.timeout(WITHIN_S + 10)
@pytest.mark.parametrize("number", range(SEEDS))
@on_asyncio(within_s=WITHIN_S)
async def test_messages(
    sdk_of: Callable[[Way], Sdk], own_server: ServerProcess, channel: str, number: int
) -> None:
    stop = asyncio.Event()
    async with Weather(own_server) as weather:
        sources, inboxes = {}, []
        for way in ONE_WAY_EACH:
            sdk = sdk_of(way)
            inboxes.append(await (await (await weather.client(sdk)).channel(channel)).subscribe())
            sources[way.name] = await (await weather.client(sdk)).channel(channel)
        async with asyncio.TaskGroup() as group:
            for who, source in sources.items():
                group.create_task(weather.publish(who, source, stop))
            await weather.rage()
            stop.set()
        async with Rest(own_server) as rest:
            await rest.publish(channel, {"name": "end"})
        for inbox in inboxes:
            received = await inbox.until(lambda message: message.name == "end")
            for who, tasks in weather.published.items():
                serials = [await publishing for publishing in tasks]
                check(who, received, serials)


@pytest.mark.timeout(WITHIN_S + 10)
@pytest.mark.parametrize("number", range(SEEDS))
@on_asyncio(within_s=WITHIN_S)
async def test_members(
    sdk_of: Callable[[Way], Sdk], own_server: ServerProcess, channel: str, number: int
) -> None:
    """Who entered before the storm is there after it, once, for everybody and over REST."""
    async with Weather(own_server) as weather:
        targets = {}
        for way in ONE_WAY_EACH * 2:
            who = f"{way.name}-{len(targets)}"
            targets[who] = await (await weather.client(sdk_of(way), who)).channel(channel)
        events = [await target.watch_presence() for target in targets.values()]
        for target in targets.values():
            await target.enter("before")
        await weather.rage()
        for target in targets.values():
            await target.presence("update", "after")
        for observed in events:
            waiting = set(targets)
            while waiting:
                event = await observed.first(lambda message: message.data == "after")
                waiting.discard(str(event.client_id))
        for target in targets.values():
            found = sorted((m.client_id, m.data) for m in await target.members())
            assert found == sorted((who, "after") for who in targets)
        async with Rest(own_server) as rest:
            assert await rest.members(channel) == set(targets)


async def serial_of(channel: Channel, name: str) -> str | None:
    """None: nobody knows. ably-python raises what its WebSocket does, though it sends it again."""
    try:
        serials = await channel.publish_all([{"name": name}])
    except Refused as refused:
        if refused.code not in (None, NO_TRANSPORT):
            raise
        return None
    return serials[0] if serials else None


def check(who: str, received: list[Received], serials: list[str | None]) -> None:
    """When ably-python connects again, a new message may overtake those that it sends again, and
    then it takes one's ACK for another's: of its messages we only know that they are there."""
    numbered = [
        (int(number), message.serial)
        for message in received
        for source, _, number in [str(message.name).partition(":")]
        if source == who and number != "last"
    ]
    numbers = [number for number, _ in numbered]
    acknowledged = {number: serial for number, serial in enumerate(serials) if serial is not None}
    assert len(numbers) == len(set(numbers))
    assert set(numbers) >= acknowledged.keys()
    if who == "node":
        assert numbers == list(range(len(serials)))
        assert dict(numbered) == acknowledged
