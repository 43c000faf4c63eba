"""Where attachments begin: now, behind what was seen, rewound; nothing is missed, nothing twice."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import broker
from broker import BadRequest, Broker, Message
from broker.channels.channel_name import parse
from broker.channels.modes import DEFAULT, Mode
from broker.event import Kind
from broker.live.attach_point import AttachPoint, Rewind, followed, parse_rewind
from broker.live.hub import ChannelKey
from broker.messages.serials import render
from storage import Cut, Stream
from tests.broker.acting import ENTER, Acting
from tests.broker.conftest import FakeClock
from tests.broker.live.test_follower import Consumer, read_to_the_end

SECOND_MS = 1_000


@pytest.fixture
async def b(path: Path, clock: FakeClock) -> AsyncIterator[Broker]:
    async with broker.open(path, clock=clock) as opened:
        yield opened


def attach(
    b: Broker,
    *,
    channel: str = "c",
    modes: Mode = DEFAULT,
    serial: str | None = None,
    rewind: Rewind | None = None,
) -> AttachPoint:
    return b.epoch.attach_points.find(
        b.default_app(), parse(channel), modes, serial=serial, rewind=rewind
    )[1]


async def publish(b: Broker, *names: object, ephemeral: bool = False) -> list[str]:
    """Each in a publish of its own; returns their serials."""
    extras = {"ephemeral": True} if ephemeral else None
    serials = []
    for name in names:
        published = await b.channel("c").publish_all([Message(name=str(name), extras=extras)])
        serials += published.serials
    return [serial for serial in serials if serial is not None]


async def heard(b: Broker, point: AttachPoint) -> list[str]:
    """The messages that an attachment which begins there gets from the log."""
    consumer = Consumer(b, point.position)
    consumer._floors = point.floors
    consumer.behind = True
    await read_to_the_end(consumer)
    return consumer.names


async def test_now(b: Broker) -> None:
    await publish(b, "old")
    point = attach(b)
    assert point.position == point.now == b.log.position
    assert (point.resumed, point.missed, point.has_backlog) == (False, None, False)
    await publish(b, "new")
    assert await heard(b, point) == ["new"]


async def test_members_are_counted_for_those_who_may_see_them(b: Broker) -> None:
    await Acting(b).act(ENTER, "me")
    assert attach(b).members == 1
    assert attach(b, modes=Mode.SUBSCRIBE).members == 0


async def test_behind_what_was_seen(b: Broker) -> None:
    serials = await publish(b, *"abc")
    point = attach(b, serial=serials[0])
    assert (point.resumed, point.has_backlog, point.missed) == (True, True, None)
    assert await heard(b, point) == ["b", "c"]
    caught_up = attach(b, serial=serials[2])
    assert (caught_up.resumed, caught_up.has_backlog) == (True, False)
    nothing_yet = render(point.now, b.series)
    await b.channel("another").publish()
    assert not attach(b, serial=nothing_yet).has_backlog


async def test_a_serial_within_a_publish(b: Broker) -> None:
    """And one without an index stands behind all of it."""
    published = await b.channel("c").publish_all([Message(name=name) for name in "abc"])
    first = published.serials[0]
    assert first is not None
    assert await heard(b, attach(b, serial=first)) == ["b", "c"]
    assert await heard(b, attach(b, serial=first.rpartition(":")[0])) == []


async def test_ephemeral_messages_are_continued_too(b: Broker) -> None:
    (first,) = await publish(b, "a")
    await publish(b, "b", ephemeral=True)
    await publish(b, "c")
    await publish(b, "d", ephemeral=True)
    assert await heard(b, attach(b, serial=first)) == ["b", "c", "d"]


async def test_presence_is_not_told_again(b: Broker) -> None:
    """SYNC tells who is there (RTP19): what they did before is not repeated."""
    (first,) = await publish(b, "a")
    await Acting(b).act(ENTER, "me")
    point = attach(b, serial=first)
    assert point.floors[Kind.PRESENCE] == point.now
    assert point.floors[Kind.MESSAGES] < point.now
    assert not point.has_backlog


async def test_what_was_trimmed_is_missed(b: Broker) -> None:
    serials = await publish(b, *"abc")
    stream = Stream(b.default_app(), "c", Kind.MESSAGES)
    page = await b.log.read(stream, limit=10)
    await b.log.trim([Cut(stream, page.records[1].serial)])
    point = attach(b, serial=serials[0])
    assert point.missed is not None
    assert (point.resumed, point.position) == (False, point.now)
    assert attach(b, serial=serials[1]).resumed
    assert await heard(b, attach(b, serial=serials[1])) == ["c"]


async def test_ephemeral_messages_that_went_are_not_missed(b: Broker) -> None:
    (first,) = await publish(b, "a", ephemeral=True)
    await publish(b, "b", ephemeral=True)
    stream = Stream(b.default_app(), "c", Kind.EPHEMERAL)
    await b.log.trim([Cut(stream, b.log.position)])
    assert attach(b, serial=first).resumed


@pytest.mark.parametrize(
    "serial", ["", "x", "01700000000000-000@another000:000", "99999999999999-999@{series}:999"]
)
async def test_serials_that_mean_nothing_here(b: Broker, serial: str) -> None:
    await publish(b, "a")
    point = attach(b, serial=serial.format(series=b.series), rewind=Rewind(1))
    assert point.missed is not None
    assert (point.resumed, point.has_backlog) == (False, False)


async def test_a_serial_of_the_future(b: Broker) -> None:
    await publish(b, "a")
    point = attach(b, serial=render(b.log.position + (1 << 30), b.series))
    assert point.missed is not None
    assert point.position == point.now


@pytest.mark.parametrize(("count", "names"), [(1, "c"), (2, "bc"), (3, "abc"), (9, "abc"), (0, "")])
async def test_rewinding_by_count(b: Broker, count: int, names: str) -> None:
    await publish(b, *"abc")
    point = attach(b, rewind=Rewind(count))
    assert point.has_backlog == bool(names)
    assert not point.resumed
    await publish(b, "live")
    assert await heard(b, point) == [*names, "live"]


async def test_rewinding_by_time(b: Broker, clock: FakeClock) -> None:
    for name in "abc":
        await publish(b, name)
        clock.advance(SECOND_MS)
    assert await heard(b, attach(b, rewind=Rewind(100, 2 * SECOND_MS))) == ["b", "c"]
    assert await heard(b, attach(b, rewind=Rewind(1, 2 * SECOND_MS))) == ["c"]
    assert await heard(b, attach(b, rewind=Rewind(100, 500))) == []
    assert await heard(b, attach(b, rewind=Rewind(100, 60 * SECOND_MS))) == ["a", "b", "c"]
    assert await heard(b, attach(b, rewind=Rewind(100, 10**15))) == ["a", "b", "c"]


async def test_ephemeral_messages_are_not_rewound(b: Broker) -> None:
    await publish(b, "a")
    await publish(b, "b", ephemeral=True)
    await publish(b, "c")
    assert await heard(b, attach(b, rewind=Rewind(2))) == ["a", "c"]


async def test_a_rewind_begins_within_a_publish(b: Broker) -> None:
    await b.channel("c").publish_all([Message(name=name) for name in "abc"])
    assert await heard(b, attach(b, rewind=Rewind(2))) == ["b", "c"]


async def test_nothing_to_rewind(b: Broker) -> None:
    assert not attach(b, rewind=Rewind(5)).has_backlog
    await Acting(b).act(ENTER, "me")
    assert not attach(b, rewind=Rewind(5)).has_backlog
    await publish(b, "a")
    assert not attach(b, rewind=Rewind(5), modes=Mode.PRESENCE_SUBSCRIBE).has_backlog


@pytest.mark.parametrize("seed", range(10))
async def test_from_anywhere_everything_behind_it_once(b: Broker, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    serials: list[str] = []
    while len(serials) < 60:
        names = range(len(serials), len(serials) + chance.choice([1, 1, 3]))
        extras = {"ephemeral": True} if chance.random() < 0.3 else None
        messages = [Message(name=str(name), extras=extras) for name in names]
        published = await b.channel("c").publish_all(messages)
        serials += [serial for serial in published.serials if serial is not None]
    for seen in chance.sample(range(len(serials)), 15):
        point = attach(b, serial=serials[seen])
        assert point.resumed
        assert await heard(b, point) == [str(n) for n in range(seen + 1, len(serials))]


@pytest.mark.parametrize(
    ("text", "limit", "rewind"),
    [
        ("1", None, Rewind(1)),
        ("100", None, Rewind(100)),
        ("5000", None, Rewind(100)),
        ("0", None, Rewind(0)),
        ("10", "3", Rewind(3)),
        ("3", "10", Rewind(3)),
        ("30s", None, Rewind(100, 30 * SECOND_MS)),
        ("2m", None, Rewind(100, 120 * SECOND_MS)),
        ("2m", "7", Rewind(7, 120 * SECOND_MS)),
        ("2m", "9" * 30, Rewind(100, 120 * SECOND_MS)),
    ],
)
def test_rewinds(text: str, limit: str | None, rewind: Rewind) -> None:
    assert parse_rewind(text, limit) == rewind


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("x", None),
        ("-1", None),
        ("1h", None),
        ("1.5", None),
        ("٣", None),
        ("1", ""),
        ("1", "x"),
        ("1", "²"),
        ("9" * 10, None),
        (" 1", None),
        ("1\n", None),
    ],
)
def test_what_is_no_rewind(text: str, limit: str | None) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_rewind(text, limit)
    assert refused.value.code == 40000


MESSAGES = {Kind.MESSAGES, Kind.VERSIONS, Kind.ANNOTATIONS, Kind.EPHEMERAL}


@pytest.mark.parametrize(
    ("name", "modes", "channel", "kinds"),
    [
        ("c", DEFAULT, "c", {*MESSAGES, Kind.PRESENCE}),
        ("[?rewind=1]c", DEFAULT, "c", {*MESSAGES, Kind.PRESENCE}),
        ("c", Mode.SUBSCRIBE, "c", MESSAGES),
        ("c", Mode.PRESENCE_SUBSCRIBE, "c", {Kind.PRESENCE}),
        ("c", Mode.PUBLISH | Mode.PRESENCE, "c", set()),
        ("[meta]channel.lifecycle", Mode.SUBSCRIBE, "", {Kind.LIFECYCLE}),
        ("[meta]connection.lifecycle", Mode.SUBSCRIBE, "", {Kind.CONNECTIONS}),
        ("[meta]log", Mode.SUBSCRIBE, "[meta]log", {Kind.EPHEMERAL}),
    ],
)
def test_what_is_followed(name: str, modes: Mode, channel: str, kinds: set[Kind]) -> None:
    key, found = followed("app", parse(name), modes)
    assert key == ChannelKey("app", channel)
    assert set(found) == kinds
