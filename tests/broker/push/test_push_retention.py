"""What is kept of devices and notifications, for how long, and that a rebuild knows no more.

These brokers deliver nothing: what was accepted stays until it is swept.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

import broker
from broker import Broker, offline
from broker.event import Kind
from broker.push import outbox_log, registry, waiting
from broker.push.events import Attempt, DeviceRemoved, PublishAccepted, Selector
from broker.push.lifetime import TTL_MS_MAX
from broker.push.outbox_log import ProgressPublish
from broker.retention import PUBLISHES_RETENTION_MS
from broker.settings import HOUR_MS
from storage import LogSettings
from tests.broker.conftest import FakeClock
from tests.broker.push.registered import (
    CHANNEL,
    enabled,
    ids,
    of_client,
    records,
    registered,
    subscriptions,
)

PAYLOAD = {"notification": {"title": "hello"}}
ME = Selector(client_id="me")


@pytest.fixture
async def resting(path: Path, clock: FakeClock) -> AsyncIterator[Broker]:
    async with broker.open(path, clock=clock, hold_connections=False) as b:
        yield b
    assert offline.verify(path, LogSettings()) == []


def rows(b: Broker) -> dict[str, dict[bytes, bytes]]:
    with b.rows() as found:
        return {table: dict(found.scan(table)) for table in (outbox_log.TABLE, registry.TABLE)}


async def rebuilt(b: Broker) -> dict[str, dict[bytes, bytes]]:
    """The rows, which a rebuild leaves as they are."""
    before = rows(b)
    await b.rebuild()
    assert rows(b) == before
    return before


async def accepted(b: Broker, app: str) -> list[PublishAccepted]:
    events = [record.event for record in await records(b, app, Kind.PUBLISHES)]
    return [event for event in events if isinstance(event, PublishAccepted)]


async def wait(b: Broker, app: str, publish: int, *devices: str, at_ms: int) -> None:
    """A page was tried, and these are to be tried again."""
    attempts = tuple(Attempt(device, at_ms) for device in devices)
    await b.submit(ProgressPublish(app, publish, b"", None, attempts), app=app)


async def test_publishes_are_kept_for_longer_than_anything_is_on_its_way(
    resting: Broker, clock: FakeClock
) -> None:
    app = resting.default_app()
    await resting.push.publish(app, ME, PAYLOAD)
    clock.advance(HOUR_MS)
    await resting.push.publish(app, ME, PAYLOAD, ttl_ms=10 * TTL_MS_MAX)
    for event in await accepted(resting, app):
        assert event.expires_ms <= clock.ms + TTL_MS_MAX + 1
    assert TTL_MS_MAX + HOUR_MS < PUBLISHES_RETENTION_MS == 48 * HOUR_MS
    clock.advance(47 * HOUR_MS - 1)
    await resting.sweep()
    assert len((await rebuilt(resting))[outbox_log.TABLE]) == 2
    clock.advance(2)
    await resting.sweep()
    (left,) = await accepted(resting, app)
    with resting.rows() as found:
        assert [row.expires_ms for row in outbox_log.unfinished(found)] == [left.expires_ms]
    clock.advance(HOUR_MS)
    await resting.sweep()
    assert (await rebuilt(resting))[outbox_log.TABLE] == {}


async def test_with_a_publish_goes_who_waits_for_it(resting: Broker, clock: FakeClock) -> None:
    """Also if it is swept before what was written about it later."""
    app = resting.default_app()
    for _ in range(2):
        await resting.push.publish(app, ME, PAYLOAD)
    first, second = [record.serial for record in await records(resting, app, Kind.PUBLISHES)]
    clock.advance(24 * HOUR_MS)
    await wait(resting, app, first, "d", "e", at_ms=clock.ms + 5)
    clock.advance(24 * HOUR_MS + 1)
    await resting.push.publish(app, ME, PAYLOAD)
    assert len(rows(resting)[outbox_log.TABLE]) == 3 + 2 * 2
    await resting.sweep()
    assert len(await records(resting, app, Kind.PUBLISHES)) == 2, "what was tried, and the third"
    assert len((await rebuilt(resting))[outbox_log.TABLE]) == 1
    with resting.rows() as found:
        assert list(waiting.due(found)) == []
        assert outbox_log.publish(found, app, second) is None
    await wait(resting, app, second, "d", at_ms=clock.ms)
    assert len((await rebuilt(resting))[outbox_log.TABLE]) == 1, "nobody waits for what is gone"


async def test_devices_are_kept(resting: Broker, clock: FakeClock) -> None:
    app = await enabled(resting)
    await registered(resting, app, "d", client_id="me")
    await resting.push.subscribe(app, of_client("me"))
    before = len(await records(resting, app))
    clock.advance(100_000 * HOUR_MS)
    await resting.sweep()
    assert len(await records(resting, app)) == before
    assert await ids(resting, app) == {"d"}
    await rebuilt(resting)


async def test_a_deleted_app_leaves_nothing(resting: Broker, clock: FakeClock) -> None:
    app, other = await enabled(resting), await enabled(resting, (await resting.apps.create()).id)
    for of in (app, other):
        await registered(resting, of, "d", "e", client_id="me")
        await resting.push.subscribe(of, of_client("me"))
        await resting.push.publish(of, ME, PAYLOAD)
        (publish,) = await records(resting, of, Kind.PUBLISHES)
        await wait(resting, of, publish.serial, "d", at_ms=clock.ms)
    everything = rows(resting)
    await resting.apps.delete(other)
    for table, left in (await rebuilt(resting)).items():
        assert len(left) * 2 == len(everything[table]), table
    for kind in (Kind.PUSH, Kind.PUBLISHES):
        assert await records(resting, other, kind) == []
        assert await records(resting, app, kind) != []
    assert await subscriptions(resting, app) == {(CHANNEL, "c:me")}
    with pytest.raises(broker.NotFound):
        await resting.push.publish(other, ME, PAYLOAD)


async def test_a_deleted_apps_devices_are_removed_a_few_at_a_time(
    opened: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction is as long as the list of devices."""
    monkeypatch.setattr("broker.push.removal.REMOVED_AT_ONCE", 3)
    other = await enabled(opened, (await opened.apps.create()).id)
    names = [f"d{number}" for number in range(10)]
    await registered(opened, other, *names)
    seen: list[object] = []
    opened.epoch.hub.watch(Kind.PUSH, lambda record: seen.append(record.event))
    await opened.apps.delete(other)
    while opened.epoch.hub.position < opened.log.position:
        await trio.lowlevel.checkpoint()
    assert {event.device for event in seen if isinstance(event, DeviceRemoved)} == set(names)


@pytest.mark.parametrize(
    ("channel", "extras", "expected"),
    [
        (CHANNEL, {"push": PAYLOAD}, [PAYLOAD]),
        ("c", {"push": PAYLOAD}, []),
        (CHANNEL, {"headers": {"a": "b"}}, []),
        (CHANNEL, None, []),
    ],
)
async def test_a_message_asks_for_a_notification(
    resting: Broker, channel: str, extras: dict[str, Any] | None, expected: list[Any]
) -> None:
    app = await enabled(resting)
    for _ in range(2):
        await resting.channel(channel).publish("m", id="once", extras=extras)
    found = await accepted(resting, app)
    assert [event.payload for event in found] == expected
    assert all(event.selector == Selector(channel=channel) for event in found)
    (message,) = (await resting.channel(channel).history()).messages
    assert message.extras == extras
