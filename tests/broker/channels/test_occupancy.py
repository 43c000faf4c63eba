"""Occupancy as it is counted, forgotten with its epoch, and told to those who asked."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import broker
from broker import Broker
from broker.channels.modes import ALL, DEFAULT, Mode
from broker.channels.occupancy import TABLE, Occupancy
from broker.event import Kind
from broker.live.occupancy_feed import EVERY_CHANNEL
from storage import Cut, Stream
from tests.broker.acting import ENTER, LEAVE, Acting, Time
from tests.broker.conftest import FakeClock

Told = list[tuple[str, Occupancy]]


@pytest.fixture
def acting(opened: Broker) -> Acting:
    return Acting(opened)


def counted(acting: Acting, channel: str = "c") -> Occupancy:
    return acting.broker.occupancy(acting.app, channel)


@pytest.mark.parametrize(
    ("modes", "counts"),
    [
        (DEFAULT, {"publishers", "subscribers", "presence_connections", "presence_subscribers"}),
        (Mode.PUBLISH, {"publishers"}),
        (Mode.SUBSCRIBE, {"subscribers"}),
        (Mode.PRESENCE, {"presence_connections"}),
        (Mode.PRESENCE_SUBSCRIBE, {"presence_subscribers"}),
        (Mode.ANNOTATION_PUBLISH, set()),
        (Mode.OBJECT_PUBLISH, {"object_publishers"}),
        (Mode.OBJECT_SUBSCRIBE, {"object_subscribers"}),
        (ALL, set(Occupancy.__struct_fields__) - {"connections", "presence_members"}),
    ],
)
async def test_counts_by_what_attachments_may_do(
    acting: Acting, modes: Mode, counts: set[str]
) -> None:
    await acting.attach(modes=modes)
    assert counted(acting) == Occupancy(connections=1, **dict.fromkeys(counts, 1))
    await acting.attach(modes=modes, connection="other")
    assert counted(acting) == Occupancy(connections=2, **dict.fromkeys(counts, 2))
    await acting.detach(modes=modes)
    await acting.detach(modes=modes, connection="other")
    assert counted(acting) == Occupancy()
    with acting.broker.rows() as rows:
        assert list(rows.scan(TABLE)) == []


async def test_channels_are_counted_apart(acting: Acting) -> None:
    await acting.attach("c")
    await acting.attach("d", modes=Mode.PUBLISH)
    assert counted(acting, "c").subscribers == 1
    assert counted(acting, "d") == Occupancy(connections=1, publishers=1)
    assert counted(acting, "e") == Occupancy()


async def test_members_are_counted_whether_or_not_anybody_is_attached(acting: Acting) -> None:
    await acting.act(ENTER, "a")
    await acting.act(ENTER, "b")
    assert counted(acting) == Occupancy(presence_members=2)
    await acting.act(LEAVE, "a")
    assert counted(acting) == Occupancy(presence_members=1)


async def test_a_detachment_that_takes_nothing_back_is_no_event(acting: Acting) -> None:
    await acting.detach()
    await acting.attach()
    await acting.detach(epoch=999)
    assert counted(acting).connections == 1
    assert len(await acting.events(Kind.ATTACHMENTS)) == 1


async def test_who_was_attached_when_the_process_died_is_not(path: Path, clock: FakeClock) -> None:
    """At once, without any event of theirs; and what is left of it goes with the next attach."""
    async with broker.open(path, clock=clock) as b:
        await Acting(b).attach()
        await Acting(b).attach(connection="other")
        await Acting(b).attach("d")
        old = b.epoch.connections.epoch
    async with broker.open(path, clock=clock) as b:
        acting = Acting(b)
        assert counted(acting) == counted(acting, "d") == Occupancy()
        await acting.attach(modes=Mode.SUBSCRIBE)
        await acting.detach(epoch=old)
        assert counted(acting) == Occupancy(connections=1, subscribers=1)
        with b.rows() as rows:
            assert len(list(rows.scan(TABLE))) == 2
        await acting.attach("d")
        with b.rows() as rows:
            assert len(list(rows.scan(TABLE))) == 2


async def test_counts_outlive_their_events(acting: Acting) -> None:
    await acting.attach()
    last = await acting.attach(connection="other")
    stream = Stream(acting.app, "c", Kind.ATTACHMENTS)
    await acting.broker.log.trim([Cut(stream, last.serials[0] or 0)])
    assert await acting.events(Kind.ATTACHMENTS) == []
    assert counted(acting).connections == 2
    await acting.detach()
    await acting.broker.rebuild()
    assert counted(acting).connections == 1


@pytest.fixture
def time(clock: FakeClock) -> Time:
    return Time(clock)


@pytest.fixture
async def followed(path: Path, time: Time) -> AsyncIterator[Acting]:
    """A broker whose timers a test moves."""
    async with broker.open(path, clock=time.wall) as b:
        yield Acting(b)


def follow(acting: Acting, channel: str = "c") -> Told:
    """What is told of a channel from now on."""
    told: Told = []
    acting.broker.epoch.occupancy.add(acting.app, channel, lambda *what: told.append(what))
    return told


async def test_what_comes_from_or_goes_to_zero_is_told_at_once(followed: Acting) -> None:
    told = follow(followed)
    await followed.attach(modes=Mode.SUBSCRIBE)
    await followed.settled()
    await followed.attach(modes=Mode.PUBLISH)
    await followed.settled()
    await followed.detach(modes=Mode.PUBLISH)
    await followed.detach(modes=Mode.SUBSCRIBE)
    await followed.settled()
    assert told[0] == ("c", Occupancy(connections=1, subscribers=1))
    assert told[1] == ("c", Occupancy(connections=2, subscribers=1, publishers=1))
    assert told[-1] == ("c", Occupancy())


async def test_a_thousand_attachments_are_two_messages(followed: Acting, time: Time) -> None:
    told = follow(followed)
    for number in range(50):
        await followed.attach(connection=str(number))
    await followed.settled()
    assert [now.connections for _, now in told] == [1]
    await time.passes(1_000, followed)
    assert [now.connections for _, now in told] == [1, 50]
    await time.passes(5_000, followed)
    assert len(told) == 2


async def test_nothing_is_told_when_it_came_back_to_what_was_told(
    followed: Acting, time: Time
) -> None:
    await followed.attach()
    await followed.settled()
    told = follow(followed)
    await followed.attach(connection="other")
    await followed.detach(connection="other")
    await followed.settled()
    await time.passes(1_000, followed)
    assert told == []


async def test_members_are_told(followed: Acting) -> None:
    told = follow(followed)
    await followed.act(ENTER, "me")
    await followed.settled()
    assert told == [("c", Occupancy(presence_members=1))]


async def test_every_channel_of_an_app_can_be_followed(followed: Acting) -> None:
    told = follow(followed, EVERY_CHANNEL)
    other = Acting(followed.broker, (await followed.broker.apps.create()).id)
    await followed.attach("c")
    await followed.attach("d")
    await other.attach("e")
    await other.settled()
    await followed.settled()
    assert [channel for channel, _ in told] == ["c", "d"]


async def test_who_left_is_told_no_more_and_nothing_is_remembered(
    followed: Acting, time: Time
) -> None:
    feed, told = followed.broker.epoch.occupancy, []

    def tell(*what: object) -> None:
        told.append(what)

    feed.add(followed.app, "c", tell)
    await followed.attach()
    await followed.settled()
    await followed.attach(connection="other")
    await followed.settled()
    assert len(told) == 1
    feed.remove(followed.app, "c", tell)
    await time.passes(1_000, followed)
    assert len(told) == 1
    await followed.detach()
    await followed.detach(connection="other")
    await followed.settled()
    again = follow(followed)
    await followed.attach()
    await followed.settled()
    assert again == [("c", counted(followed))]
