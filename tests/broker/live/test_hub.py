"""The hub: each commit's records to who follows their channel, in order; to watchers by kind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

import broker
from broker import Broker, Message
from broker.event import Kind
from broker.live import hub
from broker.live.hub import Batch, ChannelKey
from storage import Record
from tests.broker.acting import ENTER, STUCK_S, Acting, writer_held
from tests.broker.conftest import FakeClock


class Sink:
    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.is_closed = False

    def offer(self, batch: Batch) -> None:
        self.batches.append(batch)

    def close(self) -> None:
        self.is_closed = True

    @property
    def names(self) -> list[list[str]]:
        """Of the messages, by batch."""
        return [
            [r.event.message.name for r in batch.records if r.stream.kind == Kind.MESSAGES]
            for batch in self.batches
        ]


@pytest.fixture
async def acting(path: Path, clock: FakeClock) -> AsyncIterator[Acting]:
    async with broker.open(path, clock=clock) as b:
        yield Acting(b)


def sink(b: Broker, channel: str) -> Sink:
    made = Sink()
    b.epoch.hub.add(ChannelKey(b.default_app(), channel), made)
    return made


async def test_a_batch_is_a_channels_part_of_a_commit(acting: Acting) -> None:
    b = acting.broker
    c, d = sink(b, "c"), sink(b, "d")
    async with writer_held(b.log), trio.open_nursery() as nursery:
        for waiting, name in enumerate(("c1", "c2", "d1", "c3"), 1):
            nursery.start_soon(b.channel(name[0]).publish, name)
            while b.log.queued < waiting:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()  # what is in the queue is committed all the same
    await acting.settled()
    assert (c.names, d.names) == ([["c1", "c2", "c3"]], [["d1"]])
    (batch,) = c.batches
    assert (batch.first, batch.last) == (batch.records[0].serial, batch.records[-1].serial)


async def test_every_sink_of_a_channel_gets_the_same_batch(acting: Acting) -> None:
    sinks = [sink(acting.broker, "c") for _ in range(3)]
    await acting.broker.channel("c").publish("a")
    await acting.settled()
    assert sinks[0].names == [["a"]]
    assert sinks[1].batches == sinks[2].batches == sinks[0].batches


async def test_apps_do_not_hear_each_other(acting: Acting) -> None:
    other = await acting.broker.apps.create()
    mine = sink(acting.broker, "c")
    await acting.broker.channel("c", app=other.id).publish("theirs")
    await acting.broker.channel("c").publish("mine")
    await acting.settled()
    assert mine.names == [["mine"]]


async def test_who_is_added_later_gets_what_comes_later(acting: Acting) -> None:
    await acting.broker.channel("c").publish("before")
    await acting.settled()
    late = sink(acting.broker, "c")
    await acting.broker.channel("c").publish("after")
    await acting.settled()
    assert late.names == [["after"]]


async def test_a_large_fan_out_lets_others_have_a_turn(
    acting: Acting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who leaves in the middle of it is no trouble."""
    monkeypatch.setattr(hub, "TURN_DELIVERIES", 10)
    b = acting.broker
    key, sinks = ChannelKey(acting.app, "c"), [sink(b, "c") for _ in range(100)]
    heard: set[int] = set()
    await b.channel("c").publish("a")
    with trio.fail_after(STUCK_S):
        while len(sinks[-2].batches) == 0:
            heard.add(sum(len(one.batches) for one in sinks))
            if heard != {0}:
                b.epoch.hub.remove(key, sinks[-1])
            await trio.lowlevel.checkpoint()
    assert len(heard) >= 5
    await b.channel("c").publish("b")
    await acting.settled()
    assert all(one.names == [["a"], ["b"]] for one in sinks[:-1])
    assert len(sinks[-1].batches) <= 1


async def test_the_publishers_of_a_batch(acting: Acting) -> None:
    mine = sink(acting.broker, "c")
    await acting.broker.channel("c").publish_all([Message(name="a", client_id="x")])
    await acting.act(ENTER, "me")
    await acting.settled()
    assert [batch.publishers for batch in mine.batches] == [{None}, {None}]


async def test_watchers_see_a_kind_of_every_channel(acting: Acting) -> None:
    seen: list[Record] = []
    acting.broker.epoch.hub.watch(Kind.PRESENCE, seen.append)
    await acting.act(ENTER, "me", channel="c")
    await acting.broker.channel("c").publish("not this")
    await acting.act(ENTER, "me", channel="d")
    await acting.settled()
    assert [record.stream.channel for record in seen] == ["c", "d"]


async def test_what_waits_for_a_serial_runs_behind_its_delivery(acting: Acting) -> None:
    b, order = acting.broker, []
    mine = sink(b, "c")
    b.epoch.hub.after(b.epoch.hub.position, lambda: order.append("now"))
    assert order == ["now"]
    async with writer_held(b.log), trio.open_nursery() as nursery:
        nursery.start_soon(b.channel("c").publish, "a")
        while not b.log.queued:
            await trio.lowlevel.checkpoint()
        soon = b.log.position + 1
        for name in ("first", "second"):
            b.epoch.hub.after(soon, lambda name=name: order.append((name, len(mine.batches))))
        assert order == ["now"]
        nursery.cancel_scope.cancel()
    await acting.settled()
    assert order == ["now", ("first", 1), ("second", 1)]


async def test_sinks_learn_that_the_log_has_ended(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        mine, gone = sink(b, "c"), sink(b, "c")
        b.epoch.hub.remove(ChannelKey(b.default_app(), "c"), gone)
        b.epoch.hub.remove(ChannelKey(b.default_app(), "c"), gone)
    assert (mine.is_closed, gone.is_closed) == (True, False)
