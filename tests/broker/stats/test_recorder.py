"""What is counted, when it is recorded, and that nothing is lost or counted twice on the way."""

import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

import broker
from broker import Broker, BrokerSettings, Message, offline
from broker.channels import lifecycle
from broker.channels.presence import Change, ChangePresence, LeaveMembers
from broker.errors import BadRequest
from broker.event import Kind
from broker.events import StatsRecorded
from broker.stats.intervals import HOUR_MS, MINUTE_MS, Unit, floor
from broker.stats.pending import MINUTES_MAX
from broker.stats.projections import CURSOR_STREAM, cursor, day_stream
from broker.tenancy import NamespaceRules
from storage import LogFull, LogSettings, QueueFull, Span
from tests.broker.acting import ENTER, LEAVE, UPDATE, Acting, Time, member, writer_held
from tests.broker.conftest import START_MS, FakeClock
from tests.broker.stats.usage import PUBLISHED, total, usage

THIS_MINUTE = floor(START_MS, Unit.MINUTE)
TO_THE_NEXT = THIS_MINUTE + MINUTE_MS - START_MS
IDLE_MS = 10 * MINUTE_MS


@pytest.fixture
def time(clock: FakeClock) -> Time:
    return Time(clock)


@pytest.fixture
async def acting(path: Path, time: Time) -> AsyncIterator[Acting]:
    settings = BrokerSettings(channel_idle_ms=IDLE_MS)
    async with broker.open(path, clock=time.wall, settings=settings) as b:
        yield Acting(b)


@pytest.fixture
def opened_again(path: Path, clock: FakeClock) -> Callable[[], Any]:
    return lambda: broker.open(path, clock=clock)


async def recorded(b: Broker, app: str = "") -> list[StatsRecorded]:
    """Today's recordings of an app."""
    stream = day_stream(app or b.default_app(), START_MS)
    return [record.event for record in (await b.log.read(stream, Span(), limit=1_000)).records]


async def flushed(acting: Acting, time: Time, ms: int = MINUTE_MS) -> None:
    """A minute passes, and is on disk."""
    await time.passes(ms, acting)
    await acting.broker.epoch.stats.caught_up()
    await acting.broker.epoch.stats.settled()


async def test_a_publish_is_told_at_once(acting: Acting) -> None:
    b = acting.broker
    await b.channel("c").publish(data="12345")
    await b.channel("c").publish_all([Message(data=b"123"), Message(), Message(data="")])
    found = await usage(b)
    assert list(found) == [THIS_MINUTE]
    entries = found[THIS_MINUTE]
    assert entries["messages.inbound.rest.messages.count"] == 4
    assert entries["messages.inbound.rest.messages.data"] == 8
    assert entries["channels.opened"] == entries["channels.peak"] == 1
    assert await recorded(b) == []


async def test_messages_of_a_connection_are_realtime(acting: Acting) -> None:
    b = acting.broker
    await b.channel("c").publish_all([Message(data="123", connection_id="x")] * 2)
    await b.channel("c").publish(data="1", extras={"ephemeral": True})
    entries = (await usage(b))[THIS_MINUTE]
    assert entries["messages.inbound.realtime.messages.count"] == 2
    assert entries["messages.inbound.realtime.messages.data"] == 6
    assert entries["messages.inbound.rest.messages.count"] == 1
    assert entries["messages.all.all.count"] == 3


async def test_a_repeat_is_no_message(acting: Acting) -> None:
    for _ in range(3):
        await acting.broker.channel("c").publish(id="once")
    assert await total(acting.broker) == 1


async def test_presence_counts_what_clients_say(acting: Acting) -> None:
    """Not what the broker says for them: fixtures, and leaves of connections that are gone."""
    for serial, action in enumerate((ENTER, UPDATE, LEAVE)):
        await acting.act(action, "me", msg_serial=serial, data="12")
    await acting.act(ENTER, "fixture")
    await acting.act(ENTER, "you", connection="gone", msg_serial=0)
    await acting.submit(LeaveMembers(acting.app, "gone", "id"))
    entries = (await usage(acting.broker))[THIS_MINUTE]
    assert entries["messages.inbound.realtime.presence.count"] == 4
    assert entries["messages.inbound.realtime.presence.data"] == 6
    assert "messages.persisted.all.count" not in entries


async def test_what_a_namespace_persists(acting: Acting) -> None:
    b = acting.broker
    await b.apps.set_namespace(acting.app, "kept", NamespaceRules(persisted=True))
    for channel in ("kept:c", "other:c"):
        await b.channel(channel).publish(data="123")
        await b.channel(channel).publish(data="1", extras={"ephemeral": True})
        change = Change(ENTER, member("me", data="12"))
        await acting.submit(ChangePresence(acting.app, channel, "conn", (change,), 0))
    entries = (await usage(b))[THIS_MINUTE]
    assert entries["messages.persisted.messages.count"] == 1
    assert entries["messages.persisted.messages.data"] == 3
    assert entries["messages.persisted.presence.count"] == 1
    assert entries["messages.persisted.presence.data"] == 2
    assert entries["messages.persisted.all.count"] == 2


async def test_what_the_broker_tells_on_metachannels_is_not_counted(acting: Acting) -> None:
    b = acting.broker
    b.epoch.app_log.refused(acting.app, BadRequest("no"))
    await acting.settled()
    assert await acting.records(Kind.EPHEMERAL, "[meta]log")
    assert await total(b) == 0


async def test_what_no_event_carries(acting: Acting) -> None:
    activity, app = acting.broker.epoch.activity, acting.app
    activity.delivered(app, 3, 30)
    activity.delivered(app, 2, 20, presence=True)
    activity.read(app, [Message(data="123"), Message()])
    activity.read(app, [member("me", data="1")], presence=True)
    for status in (200, 201, 400, 401, 403, 404, 429, 500, 503):
        activity.api_request(app, "other", status)
    activity.api_request(app, "tokenRequests", 201)
    activity.api_request(app, "push", 404)
    for status in (400, 401, 503):
        activity.publish_refused(app, "rest", status)
    activity.publish_refused(app, "realtime", 400, presence=True)
    expected = {
        "messages.outbound.realtime.messages.count": 3,
        "messages.outbound.realtime.messages.data": 30,
        "messages.outbound.realtime.presence.count": 2,
        "messages.outbound.realtime.presence.data": 20,
        "messages.outbound.rest.messages.count": 2,
        "messages.outbound.rest.messages.data": 3,
        "messages.outbound.rest.presence.count": 1,
        "messages.outbound.rest.presence.data": 1,
        "apiRequests.other.succeeded": 2,
        "apiRequests.other.failed": 4,
        "apiRequests.other.refused": 3,
        "apiRequests.tokenRequests.succeeded": 1,
        "apiRequests.push.failed": 1,
        "apiRequests.all.failed": 5,
        "messages.inbound.rest.messages.refused": 2,
        "messages.inbound.rest.messages.failed": 1,
        "messages.inbound.realtime.presence.refused": 1,
        "messages.all.all.refused": 3,
    }
    entries = (await usage(acting.broker))[THIS_MINUTE]
    assert {name: entries.get(name) for name in expected} == expected


async def test_a_minute_is_recorded_when_it_is_over(acting: Acting, time: Time) -> None:
    b = acting.broker
    await b.channel("c").publish()
    await time.passes(TO_THE_NEXT - 1_000, acting)
    assert await recorded(b) == []
    await flushed(acting, time, 1_000)
    (event,) = await recorded(b)
    assert event.minute_ms == THIS_MINUTE
    assert event.counters["messages.inbound.rest.messages.count"] == 1
    await b.channel("c").publish()
    await flushed(acting, time)
    assert [e.minute_ms for e in await recorded(b)] == [THIS_MINUTE, THIS_MINUTE + MINUTE_MS]
    assert {start: e[PUBLISHED] for start, e in (await usage(b)).items() if PUBLISHED in e} == {
        THIS_MINUTE: 1,
        THIS_MINUTE + MINUTE_MS: 1,
    }


async def test_an_idle_broker_writes_nothing(acting: Acting, time: Time) -> None:
    await flushed(acting, time, TO_THE_NEXT)
    before = acting.broker.log.position
    for _ in range(5):
        await flushed(acting, time)
    assert acting.broker.log.position == before


async def test_an_active_channel_is_a_peak_in_every_minute(acting: Acting, time: Time) -> None:
    await acting.broker.channel("c").publish()
    await flushed(acting, time, TO_THE_NEXT)
    for _ in range(3):
        await flushed(acting, time)
    found = await usage(acting.broker)
    assert len(found) == 5  # the last is not over
    assert {entries["channels.peak"] for entries in found.values()} == {1}
    assert [entries.get("channels.min") for entries in found.values()] == [None, 1, 1, 1, 1]


async def test_levels_of_connections(acting: Acting, time: Time) -> None:
    b = acting.broker
    held = [await b.epoch.connections.open(acting.app, None) for _ in range(3)]
    b.epoch.connections.closed(held.pop())
    b.epoch.connections.lost(held.pop())
    await acting.settled()
    now = (await usage(b))[THIS_MINUTE]
    expected = {"opened": 3, "peak": 3, "mean": 1, "min": None}
    assert {name: now.get(f"connections.all.{name}") for name in expected} == expected
    await flushed(acting, time, TO_THE_NEXT)
    await b.epoch.connections.open(acting.app, None)
    await flushed(acting, time)
    then = (await usage(b))[THIS_MINUTE + MINUTE_MS]
    expected = {"opened": 1, "peak": 2, "mean": 2, "min": 1}
    assert {name: then.get(f"connections.all.{name}") for name in expected} == expected
    (hour,) = (await usage(b, Unit.HOUR)).values()
    expected = {"opened": 4, "peak": 3, "min": None, "mean": 1.667}
    assert {name: hour.get(f"connections.all.{name}") for name in expected} == expected


async def test_a_connection_that_resumes_is_opened_once(acting: Acting) -> None:
    connections = acting.broker.epoch.connections
    held = await connections.open(acting.app, None)
    for _ in range(2):
        held = await connections.resume(acting.app, held.key, None)
    connections.lost(held)
    await acting.settled()
    await connections.resume(acting.app, held.key, None)
    entries = (await usage(acting.broker))[THIS_MINUTE]
    expected = {"opened": 1, "peak": 1, "mean": 1}
    assert {name: entries.get(f"connections.all.{name}") for name in expected} == expected


async def test_channels_of_the_last_epoch_are_levels_of_this(path: Path, clock: FakeClock) -> None:
    for opened in range(1, 3):
        async with broker.open(path, clock=clock) as b:
            await b.channel(f"c{opened}").publish()
            clock.advance(MINUTE_MS)
    async with broker.open(path, clock=clock) as b:
        with b.rows() as rows:
            assert len(list(lifecycle.active(rows, b.default_app()))) == 2
        now = (await usage(b))[floor(clock(), Unit.MINUTE)]
        assert (now["channels.peak"], now["channels.min"], now["channels.mean"]) == (2, 2, 2)


async def test_closing_records_what_is_left(
    path: Path, clock: FakeClock, opened_again: Callable[[], Any]
) -> None:
    async with opened_again() as b:
        await b.channel("c").publish()
        b.epoch.activity.api_request(b.default_app(), "other", 200)
    async with opened_again() as b:
        (event,) = await recorded(b)
        assert event.counters["apiRequests.other.succeeded"] == 1
        assert event.counters["messages.inbound.rest.messages.count"] == 1
        assert await total(b) == 1
        assert await total(b, "apiRequests.all.succeeded") == 1
    assert offline.verify(path, LogSettings()) == []


async def test_closing_after_a_mistake_records_too(
    path: Path, opened_again: Callable[[], Any]
) -> None:
    async def fail() -> None:
        async with opened_again() as b:
            b.epoch.activity.api_request(b.default_app(), "other", 200)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with opened_again() as b:
        assert await total(b, "apiRequests.all.succeeded") == 1


@pytest.mark.parametrize("flushed_before", [False, True])
async def test_a_killed_broker_s_publishes_are_counted_once(
    path: Path, tmp_path: Path, time: Time, flushed_before: bool
) -> None:
    """What the next process finds on disk is what lay there when it was killed."""
    image = tmp_path / "image"
    async with broker.open(path, clock=time.wall) as b:
        await b.channel("c").publish()
        if flushed_before:
            await flushed(Acting(b), time, TO_THE_NEXT)
        await b.channel("c").publish_all([Message()] * 3)
        assert await total(b) == 4
        shutil.copytree(path, image)
    async with broker.open(image, clock=time.wall) as b:
        assert await total(b) == 4
        assert await total(b, "channels.opened") == 1
        await b.channel("c").publish()
        assert await total(b) == 5
        await b.purge(b.default_app(), channel="c")
    async with broker.open(image, clock=time.wall) as b:
        assert await total(b) == 5
        await b.rebuild()
        assert await total(b) == 5
    assert offline.verify(image, LogSettings()) == []


async def test_a_cancelled_broker_loses_no_publish(opened_again: Callable[[], Any]) -> None:
    with trio.CancelScope() as scope:
        async with opened_again() as b:
            await b.channel("c").publish()
            scope.cancel()
            await trio.lowlevel.checkpoint()
    async with opened_again() as b:
        assert await recorded(b) == []
        assert await total(b) == 1


async def test_the_first_publish_of_a_log_is_counted(
    path: Path, tmp_path: Path, clock: FakeClock
) -> None:
    """Counting begins before anything can happen, not with the first recording."""
    async with broker.open(path, clock=clock) as b:
        with b.rows() as rows:
            assert cursor(rows) is not None
        await b.channel("c").publish()
        shutil.copytree(path, tmp_path / "image")
    async with broker.open(tmp_path / "image", clock=clock) as b:
        assert await total(b) == 1


async def test_what_nobody_counted_is_caught_up_with(
    path: Path, clock: FakeClock, opened_again: Callable[[], Any]
) -> None:
    """By the minute, however many there are: more are recorded than may wait."""
    async with opened_again():
        pass
    minutes = 3 * MINUTES_MAX + 1
    async with broker.open(path, clock=clock, hold_connections=False) as b:
        for number in range(minutes):
            await b.channel("c").publish_all([Message()] * (number + 1))
            clock.advance(MINUTE_MS)
        assert await total(b) == 0  # nobody counts here
    async with opened_again() as b:
        found = [e[PUBLISHED] for e in (await usage(b)).values() if PUBLISHED in e]
        assert found == list(range(1, minutes + 1))
        assert await total(b, "channels.opened") == 1
    assert offline.verify(path, LogSettings()) == []


async def test_a_broker_that_nobody_connects_to_tells_what_was_recorded(
    path: Path, clock: FakeClock, opened_again: Callable[[], Any]
) -> None:
    async with opened_again() as b:
        await b.channel("c").publish()
    async with broker.open(path, clock=clock, hold_connections=False) as b:
        before = b.log.position
        assert await total(b) == 1
        assert b.log.position == before


Enqueue = Callable[..., None]


def refusing(enqueue: Enqueue, *, at_once: bool) -> Enqueue:
    """An `enqueue` that takes no command without an app: nothing but recordings."""

    def refuse(commands: Sequence[Any], done: Any, *, app: str, cost: int = 0) -> None:
        if app:
            enqueue(commands, done, app=app, cost=cost)
        elif at_once:
            raise QueueFull("no room")
        else:
            trio.lowlevel.current_trio_token().run_sync_soon(done, [LogFull("no room")])

    return refuse


@pytest.mark.parametrize("at_once", [False, True])
async def test_what_is_refused_is_recorded_with_the_next_minute(
    acting: Acting, time: Time, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    b = acting.broker
    with monkeypatch.context() as patch:
        patch.setattr(b.log, "enqueue", refusing(b.log.enqueue, at_once=at_once))
        for number in range(3):
            await b.channel("c").publish()
            b.epoch.activity.api_request(acting.app, "other", 200)
            await flushed(acting, time, TO_THE_NEXT if number == 0 else MINUTE_MS)
            assert await total(b) == await total(b, "apiRequests.all.succeeded") == number + 1
    assert await recorded(b) == []
    await flushed(acting, time)
    assert [event.minute_ms for event in await recorded(b)] == [
        THIS_MINUTE + n * MINUTE_MS for n in range(4)
    ]
    assert await total(b) == await total(b, "apiRequests.all.succeeded") == 3


async def test_a_log_that_takes_nothing_for_long_costs_precision_only(
    acting: Acting, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    b, minutes = acting.broker, 2 * MINUTES_MAX
    with monkeypatch.context() as patch:
        patch.setattr(b.log, "enqueue", refusing(b.log.enqueue, at_once=True))
        for number in range(minutes):
            b.epoch.activity.api_request(acting.app, "other", 200)
            await flushed(acting, time, TO_THE_NEXT if number == 0 else MINUTE_MS)
        assert await total(b, "apiRequests.all.succeeded") == minutes
    await flushed(acting, time)
    assert len(await recorded(b)) <= MINUTES_MAX
    assert await total(b, "apiRequests.all.succeeded") == minutes


async def test_an_answer_is_right_while_a_recording_is_on_its_way(
    acting: Acting, time: Time
) -> None:
    b = acting.broker
    for _ in range(2):
        await b.channel("c").publish()
    await total(b)
    async with writer_held(b.log):
        b.epoch.stats._turn()
        assert b.epoch.stats._in_flight is not None
        b.epoch.activity.api_request(acting.app, "other", 200)
        assert await total(b) == 2
        assert await total(b, "apiRequests.all.succeeded") == 1
    await b.epoch.stats.settled()
    assert len(await recorded(b)) == 1
    assert await total(b) == 2


@pytest.mark.parametrize("commits", range(4))
async def test_an_answer_is_right_whatever_commits_before_its_rows_are_read(
    acting: Acting, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    """What was noted in memory may reach the rows before they are read: it counts once."""
    b = acting.broker
    await b.channel("c").publish()
    await b.epoch.stats.caught_up()
    query = b.log.query

    async def later(ask: Any) -> Any:
        for _ in range(commits):
            b.epoch.stats._turn()
            await b.epoch.stats.settled()
            await b.channel("c").publish()
            await b.epoch.stats.caught_up()
        return await query(ask)

    with monkeypatch.context() as patch:
        patch.setattr(b.log, "query", later)
        (entries,) = (await usage(b)).values()
    # What was published while it was answered may be there as far as it was recorded.
    assert entries[PUBLISHED] == max(1, commits)
    assert await total(b) == 1 + commits


async def test_a_deleted_app_is_forgotten(acting: Acting, time: Time) -> None:
    b = acting.broker
    time.wall.advance(1)
    other = (await b.apps.create("other")).id
    await b.channel("c", app=other).publish()
    b.epoch.activity.api_request(other, "other", 200)
    await b.channel("c").publish()
    assert await total(b, app=other) == 1
    await flushed(acting, time, TO_THE_NEXT)
    assert len(await recorded(b, other)) == 1
    await b.channel("c", app=other).publish()
    b.epoch.activity.api_request(other, "other", 200)
    await b.apps.delete(other)
    await b.epoch.stats.caught_up()
    await b.apps.create(other)  # what waited is not this one's
    for _ in range(2):
        assert await recorded(b, other) == []
        assert await usage(b, app=other) == {}
        await flushed(acting, time)
    assert await total(b) == 1


async def test_minutes_are_kept_for_a_while_and_hours_for_good(
    path: Path, clock: FakeClock
) -> None:
    settings = BrokerSettings(stats_retention_ms=10 * HOUR_MS)
    async with broker.open(path, clock=clock, settings=settings) as b:
        await b.channel("c").publish()
    clock.advance(11 * HOUR_MS)
    async with broker.open(path, clock=clock, settings=settings) as b:
        await b.sweep()
        assert await usage(b, end_ms=START_MS) == {}
        for unit in (Unit.HOUR, Unit.DAY, Unit.MONTH):
            (entries,) = (await usage(b, unit, end_ms=START_MS)).values()
            assert entries[PUBLISHED] == 1
        cursors = (await b.log.read(CURSOR_STREAM, limit=10)).records
        assert len(cursors) <= 1  # of an hour
    assert offline.verify(path, LogSettings()) == []


async def test_minutes_may_be_kept_for_ever(path: Path, clock: FakeClock) -> None:
    settings = BrokerSettings(stats_retention_ms=0)
    async with broker.open(path, clock=clock, settings=settings) as b:
        await b.channel("c").publish()
    clock.advance(100_000 * HOUR_MS)
    async with broker.open(path, clock=clock, settings=settings) as b:
        await b.sweep()
        assert len(await usage(b, end_ms=START_MS)) == 1
