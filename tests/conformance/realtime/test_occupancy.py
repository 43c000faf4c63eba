"""How many are there: live on the channel, and over REST, always the same."""

from collections.abc import Mapping

import pytest

from tests.conformance.on_asyncio import on_asyncio
from tests.conformance.realtime.client import Received
from tests.conformance.realtime.observed import Observed
from tests.conformance.realtime.sdk import Sdk

pytestmark = pytest.mark.conformance


async def until(inbox: Observed[Received], **expected: int) -> Mapping[str, int]:
    def test(message: Received) -> bool:
        return message.name == "[meta]occupancy" and expected.items() <= metrics(message).items()

    return metrics(await inbox.first(test))


def metrics(message: Received) -> Mapping[str, int]:
    found: Mapping[str, int] = message.data["metrics"]
    return found


@on_asyncio
async def test_counts_follow_who_comes_and_goes(sdk: Sdk, channel: str) -> None:
    sdk = sdk.with_tokens()
    async with sdk.connected() as watcher:
        watched = await watcher.channel(channel, params={"occupancy": "metrics"})
        inbox = await watched.subscribe()
        await until(inbox, connections=1)
        async with sdk.connected() as other, sdk.connected() as third:
            come = [await one.channel(channel, modes=("publish",)) for one in (other, third)]
            for target in come:
                await target.attach()
            await until(inbox, connections=3, publishers=3, subscribers=1)
            await come[1].detach()
            await until(inbox, connections=2, publishers=2, subscribers=1)
        last = await until(inbox, connections=1, publishers=1, subscribers=1)
        assert (await watched.occupancy()).items() >= last.items()


@on_asyncio
async def test_occupancy(sdk: Sdk, channel: str) -> None:
    sdk = sdk.with_tokens()
    async with sdk.connected() as watcher, sdk.connected(client_id="me") as member:
        watched = await watcher.channel(channel, params={"occupancy": "metrics"})
        inbox = await watched.subscribe()
        await until(inbox, connections=1, subscribers=1, publishers=1, presenceMembers=0)
        own = await member.channel(channel, modes=("presence",))
        await own.enter()
        full = await until(inbox, presenceMembers=1, presenceConnections=2)
        assert full["connections"] == 2
        assert full["subscribers"] == full["publishers"] == full["presenceSubscribers"] == 1
        assert (await watched.occupancy()).items() >= full.items()
        await member.close_connection()
        empty = await until(inbox, presenceMembers=0, connections=1)
        assert (await watched.occupancy()).items() >= empty.items()
