"""Active channels: opened by the first that happens, closed when nothing did for a while."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

import broker
from broker import Broker, BrokerSettings
from broker.channels import lifecycle
from broker.channels.occupancy import Attach
from broker.event import Kind
from broker.events import ChannelClosed, ChannelCreated, ChannelOpened
from storage import Cut, Stream, View
from tests.broker.acting import ENTER, LEAVE, Acting, Time, writer_held
from tests.broker.conftest import FakeClock

IDLE_MS = 60_000


@pytest.fixture
def time(clock: FakeClock) -> Time:
    return Time(clock)


def a_broker(path: Path, time: Time) -> AbstractAsyncContextManager[Broker]:
    settings = BrokerSettings(channel_idle_ms=IDLE_MS)
    return broker.open(path, clock=time.wall, settings=settings)


@pytest.fixture
async def acting(path: Path, time: Time) -> AsyncIterator[Acting]:
    async with a_broker(path, time) as b:
        yield Acting(b)


def active(acting: Acting) -> set[str]:
    with acting.broker.rows() as rows:
        found = {channel for _, channel in lifecycle.active(rows, acting.app)}
        assert all(lifecycle.is_active(rows, acting.app, channel) for channel in found)
    return found


async def life(acting: Acting) -> list[tuple[type, str]]:
    return [(type(e), e.channel) for e in await acting.events(Kind.LIFECYCLE, "")]


async def test_the_first_that_happens_opens_a_channel(acting: Acting) -> None:
    await acting.broker.channel("published").publish()
    await acting.broker.channel("published").publish()
    await acting.act(ENTER, "me", channel="entered")
    await acting.attach("attached")
    await acting.act(LEAVE, "me", channel="left")
    await acting.detach("detached")
    assert active(acting) == {"published", "entered", "attached"}
    assert await life(acting) == [
        (ChannelOpened, "published"),
        (ChannelOpened, "entered"),
        (ChannelOpened, "attached"),
    ]
    assert [type(e) for e in await acting.events(Kind.CHANNEL, "entered")] == [ChannelCreated]


async def test_an_idle_channel_is_closed_and_opened_again(acting: Acting, time: Time) -> None:
    await acting.broker.channel("c").publish()
    await acting.settled()
    await time.passes(IDLE_MS, acting)
    assert active(acting) == set()
    await acting.broker.channel("c").publish()
    assert active(acting) == {"c"}
    assert await life(acting) == [(ChannelOpened, "c"), (ChannelClosed, "c"), (ChannelOpened, "c")]
    assert len(await acting.events(Kind.CHANNEL)) == 1


async def test_what_happens_on_it_keeps_it_open(acting: Acting, time: Time) -> None:
    await acting.broker.channel("c").publish()
    await acting.settled()
    for _ in range(6):
        await time.passes(IDLE_MS // 2, acting)
        await acting.broker.channel("c").publish(extras={"ephemeral": True})
    assert active(acting) == {"c"}
    await time.passes(IDLE_MS, acting)
    await time.passes(IDLE_MS, acting)
    assert active(acting) == set()


@pytest.mark.parametrize("how", ["attached", "present"])
async def test_who_is_there_keeps_it_open(acting: Acting, time: Time, how: str) -> None:
    if how == "attached":
        await acting.attach()
    else:
        await acting.act(ENTER, "me")
    await acting.settled()
    for _ in range(4):
        await time.passes(IDLE_MS, acting)
    assert active(acting) == {"c"}
    await (acting.detach() if how == "attached" else acting.act(LEAVE, "me"))
    for _ in range(3):
        await time.passes(IDLE_MS, acting)
    assert active(acting) == set()


async def test_who_comes_just_before_it_is_closed(acting: Acting, time: Time) -> None:
    """The decision is the log's; and the channel is still looked after."""
    await acting.broker.channel("c").publish()
    await acting.settled()
    attach = Attach(acting.app, "c", "conn", 1, acting.broker.epoch.connections.epoch)
    async with writer_held(acting.broker.log):
        acting.broker.epoch.background.post(acting.app, attach)
        await time.passes(IDLE_MS)
    await acting.settled()
    assert active(acting) == {"c"}
    await acting.detach(modes=1)
    for _ in range(3):
        await time.passes(IDLE_MS, acting)
    assert active(acting) == set()


async def test_what_was_active_before_a_restart_is_closed_too(path: Path, time: Time) -> None:
    """Its attachments died with the process."""
    async with a_broker(path, time) as b:
        await b.channel("c").publish()
        await Acting(b).attach("d")
    async with a_broker(path, time) as b:
        acting = Acting(b)
        assert active(acting) == {"c", "d"}
        for _ in range(2):
            await time.passes(IDLE_MS, acting)
        assert active(acting) == set()


async def test_what_is_active_outlives_its_events(acting: Acting) -> None:
    await acting.broker.channel("c").publish()
    stream = Stream(acting.app, "", Kind.LIFECYCLE)
    await acting.broker.log.trim([Cut(stream, acting.broker.log.position)])
    await acting.broker.rebuild()
    assert active(acting) == {"c"}
    await acting.broker.channel("c").publish()
    assert await life(acting) == []


async def test_apps_have_their_own(acting: Acting) -> None:
    other = Acting(acting.broker, (await acting.broker.apps.create()).id)
    await acting.broker.channel("c").publish()
    await other.act(ENTER, "me", channel="d")
    assert (active(acting), active(other)) == ({"c"}, {"d"})
    with acting.broker.rows() as rows:
        assert set(lifecycle.active(rows)) == {(acting.app, "c"), (other.app, "d")}
    await other.broker.apps.delete(other.app)
    with acting.broker.rows() as rows:
        assert set(lifecycle.active(rows)) == {(acting.app, "c")}


LONG = "l" * 440
NAMES = ["b", "a", "a:2", "a:1", "é", "\U0001f600", *(LONG + end for end in ("", "x", "y", "xy"))]


async def opened_channels(acting: Acting, names: list[str]) -> None:
    for name in names:
        await acting.attach(name)


def walked(acting: Acting, prefix: str = "", limit: int = 3) -> list[str]:
    """Every page, one after the other."""
    found: list[str] = []
    after: bytes | None = b""
    with acting.broker.rows() as rows:
        while after is not None:
            page = lifecycle.active_page(rows, acting.app, prefix, after, limit)
            assert len(page.names) == limit or page.next is None
            found += page.names
            after = page.next
    return found


@pytest.mark.parametrize("limit", [1, 2, 3, len(NAMES), 100])
async def test_pages_are_in_the_order_of_names(acting: Acting, limit: int) -> None:
    await opened_channels(acting, NAMES)
    other = Acting(acting.broker, (await acting.broker.apps.create()).id)
    await opened_channels(other, ["a", "theirs"])
    found = walked(acting, limit=limit)
    short = [name for name in found if len(name) <= len(LONG)]
    assert short == sorted(short, key=str.encode)
    assert sorted(found) == sorted(NAMES)
    assert walked(other, limit=limit) == ["a", "theirs"]


@pytest.mark.parametrize("prefix", ["a", "a:", "a:1", "é", "l", LONG, LONG + "x", LONG + "z", "x"])
async def test_pages_of_a_prefix(acting: Acting, prefix: str) -> None:
    await opened_channels(acting, NAMES)
    expected = [name for name in NAMES if name.startswith(prefix)]
    for limit in (1, 100):
        assert sorted(walked(acting, prefix, limit)) == sorted(expected)


async def test_a_full_last_page_has_none_behind_it(acting: Acting) -> None:
    await opened_channels(acting, ["a", "b", "c:1", "d"])
    with acting.broker.rows() as rows:
        assert lifecycle.active_page(rows, acting.app, "", b"", 4).next is None
        assert lifecycle.active_page(rows, acting.app, "", b"", 3).next == b"c:1"
        assert lifecycle.active_page(rows, acting.app, "c", b"", 1).next is None
        nothing = lifecycle.active_page(rows, acting.app, "e", b"", 1)
    assert nothing == lifecycle.ChannelsPage((), None)


async def test_closing_leaves_no_row(acting: Acting, time: Time) -> None:
    for name in NAMES:
        await acting.broker.channel(name).publish()
    await acting.settled()
    for _ in range(2):
        await time.passes(IDLE_MS, acting)
    assert walked(acting) == []
    with acting.broker.rows() as rows:
        assert list(rows.scan(lifecycle.TABLE)) == []


async def test_a_rebuild_gives_the_same_rows(acting: Acting, time: Time) -> None:
    for name in NAMES:
        await acting.broker.channel(name).publish()
    await acting.settled()
    for _ in range(2):
        await time.passes(IDLE_MS, acting)
    await opened_channels(acting, NAMES[::2])
    before = rows_of(acting)
    assert len(before) == 2 * len(NAMES[::2])
    await acting.broker.rebuild()
    assert rows_of(acting) == before


def rows_of(acting: Acting) -> list[tuple[bytes, bytes]]:
    with acting.broker.rows() as rows:
        return list(rows.scan(lifecycle.TABLE))


async def test_a_page_is_a_seek(acting: Acting) -> None:
    """It costs its own rows and one more, wherever it lies and however many others there are."""
    await opened_channels(acting, [f"{group}:{n:03}" for group in "abc" for n in range(40)])
    log = acting.broker.log

    def steps(prefix: str, after: bytes, limit: int) -> int:
        with log.engine.read() as reader:
            rows = View(reader, log.domain, log.settings)
            page = lifecycle.active_page(rows, acting.app, prefix, after, limit)
            assert len(page.names) == limit
            return reader.steps

    for prefix, after in (("", b""), ("a", b""), ("b", b""), ("b:0", b"b:010"), ("", b"c:000")):
        for limit in (1, 10):
            assert steps(prefix, after, limit) == limit + 1, (prefix, after)
    assert steps("c:039", b"", 1) <= 2
    assert steps("none", b"", 0) <= 1
