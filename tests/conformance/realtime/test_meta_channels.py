"""Channels about channels and connections, for those whose key may see them."""

import pytest

from tests.conformance.on_asyncio import on_asyncio
from tests.conformance.realtime.client import refusal
from tests.conformance.realtime.conftest import ALL_KEY, ORDINARY_KEY
from tests.conformance.realtime.sdk import Sdk

pytestmark = pytest.mark.conformance

META = ["[meta]connection.lifecycle", "[meta]channel.lifecycle", "[meta]log"]


@pytest.mark.parametrize("name", META)
@on_asyncio
async def test_not_for_every_key(one_sdk: Sdk, name: str) -> None:
    async with one_sdk.connected(key=ORDINARY_KEY) as client:
        assert await refusal((await client.channel(name)).attach()) == (401, 40160)


@pytest.mark.parametrize("name", META)
@on_asyncio
async def test_nobody_publishes_there(one_sdk: Sdk, name: str) -> None:
    async with one_sdk.connected(key=ALL_KEY) as client:
        target = await client.channel(name)
        await target.attach()
        assert "publish" not in (await target.attachment()).modes
        assert await refusal(target.publish("n", "d")) == (401, 40160)


@on_asyncio
async def test_connection_lifecycle(one_sdk: Sdk) -> None:
    async with one_sdk.connected(key=ALL_KEY) as watcher:
        inbox = await (await watcher.channel("[meta]connection.lifecycle")).subscribe()
        async with one_sdk.connected(client_id="me") as client:
            connection = (await client.connection()).id
        of_it = lambda message: message.data.get("connectionId") == connection  # noqa: E731
        assert (await inbox.first(of_it)).name == "connection.opened"
        assert (await inbox.first(of_it)).name == "connection.closed"


@on_asyncio
async def test_channel_lifecycle(one_sdk: Sdk, channel: str) -> None:
    async with one_sdk.connected(key=ALL_KEY) as watcher, one_sdk.connected() as client:
        inbox = await (await watcher.channel("[meta]channel.lifecycle")).subscribe()
        await (await client.channel(channel)).attach()
        opened = await inbox.first(lambda message: channel in str(message.data))
        assert opened.name == "channel.opened"


@on_asyncio
async def test_log(one_sdk: Sdk, channel: str) -> None:
    """What went wrong for the app's clients."""
    async with (
        one_sdk.connected(key=ALL_KEY) as watcher,
        one_sdk.connected(key=ORDINARY_KEY) as client,
    ):
        inbox = await (await watcher.channel("[meta]log")).subscribe()
        assert (await refusal((await client.channel("[meta]log")).attach()))[1] == 40160
        await inbox.first(lambda message: "40160" in str(message.data))
