"""Subscriptions, and what goes with a device that is removed."""

import pytest

from broker import BadRequest, Broker, NotFound, Unauthorized
from broker.push.events import BEAMS, ChannelSubscribed, ChannelUnsubscribed, DeviceRemoved
from broker.push.removal import RemoveDevices
from broker.push.subscriptions import Unsubscribe
from tests.broker.push.registered import (
    CHANNEL,
    enabled,
    ids,
    of_client,
    of_device,
    records,
    registered,
    subscriptions,
)

OTHER = "push:other"


async def channels(b: Broker, app: str) -> list[str]:
    return list((await b.push.lists.channels(app, limit=1_000)).items)


async def test_a_device_and_a_client_subscribe(opened: Broker) -> None:
    app = await enabled(opened)
    await registered(opened, app, "x")
    for subscription in (of_device("x"), of_client("x"), of_client("nobody yet", OTHER)):
        await opened.push.subscribe(app, subscription)
    everything = {(CHANNEL, "d:x"), (CHANNEL, "c:x"), (OTHER, "c:nobody yet")}
    assert await subscriptions(opened, app) == everything
    assert await subscriptions(opened, app, channel=OTHER) == {(OTHER, "c:nobody yet")}
    assert await subscriptions(opened, app, device="x") == {(CHANNEL, "d:x")}
    assert await subscriptions(opened, app, client="x") == {(CHANNEL, "c:x")}
    assert await subscriptions(opened, app, client="x", channel=OTHER) == set()
    assert await channels(opened, app) == [CHANNEL, OTHER]


async def test_once_is_enough(opened: Broker) -> None:
    app = await enabled(opened)
    for _ in range(2):
        await opened.push.subscribe(app, of_client("x"))
    (event,) = [record.event for record in await records(opened, app)]
    assert event == ChannelSubscribed(of_client("x"))
    for _ in range(2):
        await opened.push.unsubscribe(app, channel=CHANNEL, client="x")
    assert len(await records(opened, app)) == 2
    assert await channels(opened, app) == []


async def test_a_device_that_is_not_there_does_not_subscribe(opened: Broker) -> None:
    app, other = await enabled(opened), await enabled(opened, (await opened.apps.create()).id)
    await registered(opened, other, "d")
    with pytest.raises(NotFound) as refused:
        await opened.push.subscribe(app, of_device("d"))
    assert refused.value.code == 40400


@pytest.mark.parametrize("channel", ["c", "other:c", "pushed:c"])
async def test_push_must_be_enabled(opened: Broker, channel: str) -> None:
    app = await enabled(opened)
    await registered(opened, app, "d")
    for subscription in (of_device("d", channel), of_client("x", channel)):
        with pytest.raises(Unauthorized) as refused:
            await opened.push.subscribe(app, subscription)
        assert (refused.value.code, refused.value.status) == (40100, 401)
    assert await subscriptions(opened, app) == set()


async def test_unsubscribing_is_of_one_channel_or_of_all(opened: Broker) -> None:
    app = await enabled(opened)
    await registered(opened, app, "x")
    for channel in (CHANNEL, OTHER):
        await opened.push.subscribe(app, of_device("x", channel))
        await opened.push.subscribe(app, of_client("x", channel))
    await opened.push.unsubscribe(app, channel=CHANNEL, device="x")
    assert await subscriptions(opened, app, device="x") == {(OTHER, "d:x")}
    await opened.push.unsubscribe(app, client="x")
    assert await subscriptions(opened, app) == {(OTHER, "d:x")}
    assert await channels(opened, app) == [OTHER]
    before = len(await records(opened, app))
    await opened.push.unsubscribe(app, client="x")
    await opened.push.unsubscribe(app, channel=CHANNEL, device="never there")
    assert len(await records(opened, app)) == before
    with pytest.raises(BadRequest):
        await opened.push.unsubscribe(app, channel=OTHER)


async def test_with_a_device_go_its_own_subscriptions(opened: Broker) -> None:
    app = await enabled(opened)
    await registered(opened, app, "d", "e", client_id="me")
    for subscription in (of_device("d"), of_device("d", OTHER), of_device("e"), of_client("me")):
        await opened.push.subscribe(app, subscription)
    await opened.push.remove(app, device="d")
    assert await ids(opened, app) == await ids(opened, app, client="me") == {"e"}
    assert await subscriptions(opened, app) == {(CHANNEL, "d:e"), (CHANNEL, "c:me")}
    assert await channels(opened, app) == [CHANNEL]
    await registered(opened, app, "d")
    assert await subscriptions(opened, app, device="d") == set(), "it begins anew"


async def test_a_clients_devices_are_removed_and_no_others(opened: Broker) -> None:
    app = await enabled(opened)
    await registered(opened, app, "d", "e", client_id="me")
    await registered(opened, app, "f", client_id="you")
    await registered(opened, app, "g")
    await opened.push.remove(app, client="me")
    assert await ids(opened, app) == {"f", "g"}
    await opened.push.remove(app, client="me")
    await opened.push.remove(app, device="never there")
    assert await ids(opened, app) == {"f", "g"}
    await opened.push.remove(app)
    assert await ids(opened, app) == set()


async def test_many_are_removed_a_few_at_a_time(
    opened: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction is as long as the list of devices."""
    monkeypatch.setattr("broker.push.removal.REMOVED_AT_ONCE", 3)
    monkeypatch.setattr("broker.push.subscriptions.ENDED_AT_ONCE", 3)
    app = await enabled(opened)
    names = [f"d{number}" for number in range(10)]
    await registered(opened, app, *names, client_id="me")
    for number in range(7):
        await opened.push.subscribe(app, of_client("you", f"push:{number}"))
    command = Unsubscribe(app, client="you")
    outcome = await opened.submit(command, app=app)
    assert (len(outcome.serials), outcome.reply) == (3, True)
    await opened.push.unsubscribe(app, client="you")
    assert await channels(opened, app) == []
    first = await opened.submit(RemoveDevices(app, client="me"), app=app)
    assert (len(first.serials), len(first.reply.ids)) == (3, 3)
    assert first.reply.next is not None
    await opened.push.remove(app, client="me")
    assert await ids(opened, app) == set()
    events = [record.event for record in await records(opened, app)]
    assert sum(isinstance(event, DeviceRemoved) for event in events) == len(names)
    assert sum(isinstance(event, ChannelUnsubscribed) for event in events) == 7


async def test_few_among_many_are_removed_in_short_looks(
    opened: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction is as long as the list of those that stay."""
    monkeypatch.setattr("broker.push.removal.LOOKED_AT_MAX", 3)
    app = opened.default_app()
    names = [f"d{number}" for number in range(10)]
    await registered(opened, app, *names)
    await registered(opened, app, "x", "y", api=BEAMS)
    first = (await opened.submit(RemoveDevices(app, api=BEAMS), app=app)).reply
    assert first.next is not None, "there are more to look at"
    await opened.push.remove(app, api=BEAMS)
    left = (await opened.push.lists.devices(app, limit=100, api=None)).items
    assert {one.id for one in left} == set(names)
