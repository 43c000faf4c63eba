"""Pages of devices, subscriptions and channels: everything once, however long a page is."""

import os
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broker import Broker
from broker.push.lists import Page
from broker.push.rows import NAME_BYTES_MAX
from tests.broker.push.registered import CHANNEL, enabled, of_client, of_device, registered

SEED = int(os.environ.get("TIDELOG_SEED", random.randrange(1 << 32)))
DEVICES = [f"d{number}" for number in range(7)]
CHANNELS = [f"push:{number:02}" for number in range(6)]
LIMITS = (1, 2, 3, 7, 8, 1_000)

Ask = Callable[..., Awaitable[Page[Any]]]


async def walked(ask: Ask, app: str, limit: int, **where: Any) -> list[Any]:
    """Every page, each but the last as long as it may be."""
    found: list[Any] = []
    page = await ask(app, limit=limit, **where)
    while page.next is not None:
        assert len(page.items) == limit
        found += page.items
        page = await ask(app, limit=limit, after=page.next, **where)
    assert page.items or not found, "no page is empty but that of nothing"
    return [*found, *page.items]


@pytest.fixture
async def app(opened: Broker) -> str:
    """Devices of which the first three are of one client, subscriptions of all kinds."""
    app = await enabled(opened)
    await registered(opened, app, *DEVICES[:3], client_id="me")
    await registered(opened, app, *DEVICES[3:])
    for number, channel in enumerate(CHANNELS):
        await opened.push.subscribe(app, of_device(DEVICES[0], channel))
        await opened.push.subscribe(app, of_device(DEVICES[number], channel))
        await opened.push.subscribe(app, of_client("me", channel))
    other = await enabled(opened, (await opened.apps.create()).id)
    await registered(opened, other, "stranger", client_id="me")
    await opened.push.subscribe(other, of_client("me", "push:stranger"))
    return app


@pytest.mark.parametrize("limit", LIMITS)
async def test_devices_by_pages(opened: Broker, app: str, limit: int) -> None:
    push = opened.push
    everything = await walked(push.lists.devices, app, limit)
    assert sorted(d.id for d in everything) == DEVICES
    assert everything == [push.device(app, d.id) for d in everything]
    mine = await walked(push.lists.devices, app, limit, client="me")
    assert sorted(d.id for d in mine) == DEVICES[:3]
    assert await walked(push.lists.devices, app, limit, client="nobody") == []


@pytest.mark.parametrize("limit", LIMITS)
async def test_subscriptions_by_pages(opened: Broker, app: str, limit: int) -> None:
    async def found(**where: Any) -> list[tuple[str, str | None, str | None]]:
        items = await walked(opened.push.lists.subscriptions, app, limit, **where)
        return sorted(((s.channel, s.device_id, s.client_id) for s in items), key=lambda s: str(s))

    everything = await found()
    assert len(everything) == len(set(everything)) == 3 * len(CHANNELS) - 1
    first = [(channel, DEVICES[0], None) for channel in CHANNELS]
    assert await found(device=DEVICES[0]) == first
    assert await found(client="me") == [(channel, None, "me") for channel in CHANNELS]
    assert set(await found(channel=CHANNELS[2])) == {
        (CHANNELS[2], DEVICES[0], None), (CHANNELS[2], DEVICES[2], None), (CHANNELS[2], None, "me"),
    }  # fmt: skip
    assert await found(device=DEVICES[0], channel=CHANNELS[2]) == [first[2]]
    assert await found(device=DEVICES[1], channel=CHANNELS[2]) == []
    assert await found(client=DEVICES[0]) == [], "a client is no device of that name"


@pytest.mark.parametrize("limit", LIMITS)
async def test_channels_by_pages_in_the_order_of_names(
    opened: Broker, app: str, limit: int
) -> None:
    assert await walked(opened.push.lists.channels, app, limit) == CHANNELS
    for channel in CHANNELS[::2]:
        await opened.push.unsubscribe(app, device=DEVICES[0], channel=channel)
        await opened.push.unsubscribe(app, client="me", channel=channel)
    await opened.push.unsubscribe(app, device=DEVICES[2])
    expected = [channel for channel in CHANNELS if channel != CHANNELS[2]]
    assert await walked(opened.push.lists.channels, app, limit) == expected[1:]


async def test_what_comes_and_goes_between_pages(opened: Broker, app: str) -> None:
    """Who stays is found once."""
    print(f"TIDELOG_SEED={SEED}")
    choices, push = random.Random(SEED), opened.push
    found: list[str] = []
    gone: set[str] = set()
    page = await push.lists.devices(app, limit=1)
    for number in range(100):
        found += [device.id for device in page.items]
        if page.next is None:
            break
        await registered(opened, app, f"new{number}")
        if len(gone) < 3:
            gone.add(choices.choice(sorted(set(DEVICES) - gone)))
            for id_ in gone:
                await push.remove(app, device=id_)
        page = await push.lists.devices(app, limit=1, after=page.next)
    assert page.next is None
    assert len(found) == len(set(found))
    assert set(found) >= set(DEVICES) - gone


async def test_long_names_are_told_apart(opened: Broker) -> None:
    """LMDB's keys are short, names of channels are not."""
    app = await enabled(opened)
    long = "push:" + "x" * (NAME_BYTES_MAX - 5)
    names = [long[:-1], long, *(long + more for more in ("a", "ab", "ü" * 500))]
    names += ["push:a:b", "push:a", "push:ü", "push:" + "\u6f22" * 200]
    for name in names:
        await opened.push.subscribe(app, of_client("me", name))
    found = list((await opened.push.lists.channels(app, limit=100)).items)
    assert sorted(found) == sorted(names)
    in_order = [name for name in found if len(name.encode()) <= NAME_BYTES_MAX]
    assert in_order == sorted(in_order, key=str.encode)
    for name in names:
        (one,) = (await opened.push.lists.subscriptions(app, channel=name, limit=9)).items
        assert one.channel == name
        await opened.push.unsubscribe(app, channel=name, client="me")
    assert (await opened.push.lists.channels(app, limit=100)).items == ()


async def test_ids_of_any_length(opened: Broker) -> None:
    app = await enabled(opened)
    names = ["d", "D", "d ", "d" * 256, "\u6f22" * 256, "a/b:c%2F"]
    for name in names:
        await registered(opened, app, name, client_id=name)
        await opened.push.subscribe(app, of_device(name))
        await opened.push.subscribe(app, of_client(name))
    for name in names:
        (device,) = (await opened.push.lists.devices(app, client=name, limit=9)).items
        assert device.id == name
        for where in ({"device": name}, {"client": name}):
            (one,) = (await opened.push.lists.subscriptions(app, **where, limit=9)).items
            assert (one.channel, one.device_id or one.client_id) == (CHANNEL, name)
