"""Metachannels: lifecycle events as messages, and what subscribers of any channel are told."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

import broker
from broker import BadRequest, Message, events
from broker.channels import meta
from broker.channels.channel_name import parse
from broker.channels.presence import PresenceAction
from broker.event import Kind
from broker.events import (
    BrokerStarted,
    ChannelClosed,
    ChannelOpened,
    ConnectionClosed,
    ConnectionExpired,
    ConnectionLost,
    ConnectionOpened,
    ConnectionResumed,
)
from broker.live import delivery
from broker.live.delivery import Run, Sort, View, runs
from broker.live.hub import Batch, ChannelKey
from storage import Record, Span, Stream
from tests.broker.acting import ENTER, LEAVE, Acting, Time
from tests.broker.conftest import FakeClock

EVERYTHING = View(binary=False, messages=True, presence=True)
SERIES = "series0000"


@pytest.fixture
def time(clock: FakeClock) -> Time:
    return Time(clock)


@pytest.fixture
async def acting(path: Path, time: Time) -> AsyncIterator[Acting]:
    async with broker.open(path, clock=time.wall) as b:
        yield Acting(b)


def told(records: list[Record], view: View = EVERYTHING) -> list[dict[str, Any]]:
    return [item for run in runs(Batch(records), SERIES, view) for item in run.items]


async def test_the_life_of_connections(acting: Acting, time: Time) -> None:
    connections = acting.broker.epoch.connections
    first = await connections.open(acting.app, "me")
    second = await connections.open(acting.app, None)
    first = await connections.resume(acting.app, first.key, None)
    connections.lost(first)
    connections.closed(second)
    await time.passes(121_000, acting)
    items = told(await acting.records(Kind.CONNECTIONS, ""))
    assert [item["name"] for item in items] == [
        "connection.opened",
        "connection.opened",
        "connection.resumed",
        "connection.disconnected",
        "connection.closed",
        "connection.expired",
    ]
    data = [msgspec.json.decode(item["data"]) for item in items]
    assert data[0] == {"connectionId": first.id, "clientId": "me"}
    assert data[1] == {"connectionId": second.id}
    assert {d["connectionId"] for d in data[2:]} == {first.id, second.id}
    assert len({item["id"] for item in items}) == len(items)
    assert all(item["encoding"] == "json" for item in items)


async def test_no_secret_is_told(acting: Acting) -> None:
    held = await acting.broker.epoch.connections.open(acting.app, None)
    (record,) = await acting.records(Kind.CONNECTIONS, "")
    text = msgspec.json.encode(told([record]))
    for secret in (
        held.key.partition("!")[2].encode(),
        held.key_hash,
        held.key_hash.hex().encode(),
    ):
        assert secret not in text


async def test_the_life_of_channels(acting: Acting) -> None:
    await acting.broker.channel("c").publish()
    (item,) = told(await acting.records(Kind.LIFECYCLE, ""))
    assert item["name"] == "channel.opened"
    data = msgspec.json.decode(item["data"])
    assert data == {"channelId": "c", "name": "c", "status": {"isActive": True}}


async def test_what_the_broker_does_is_nobodys_business(acting: Acting) -> None:
    page = await acting.broker.log.read(Stream("", "", Kind.CONNECTIONS), Span(), limit=10)
    assert [type(record.event) for record in page.records] == [BrokerStarted]
    assert told(page.records) == []


def test_every_lifecycle_event_has_a_name() -> None:
    """One that is added must be told, or decided against here."""
    told_of = {
        ChannelClosed,
        ChannelOpened,
        ConnectionClosed,
        ConnectionExpired,
        ConnectionLost,
        ConnectionOpened,
        ConnectionResumed,
    }
    named = {
        kind
        for kind in get_args(events.AnyEvent)
        if kind.__name__.startswith(("Connection", "Channel"))
    }
    others = {events.ChannelCreated, events.ChannelRemoved, events.ChannelAttached}
    others |= {events.ChannelSubscribed, events.ChannelUnsubscribed}  # to push
    assert named - others - {events.ChannelDetached} == told_of
    assert set(meta._NAMES) == told_of


def test_the_channel_of_a_metachannel_is_named_by_no_client() -> None:
    key = meta.log_key("app")
    assert key == ChannelKey("app", "[meta]log")
    for name in (key.channel, f"[?rewind=1]{key.channel}", f"[meta]{key.channel}"):
        try:
            assert parse(name).name != key.channel
        except BadRequest:
            continue


async def some_of_everything(acting: Acting) -> list[Record]:
    b = acting.broker
    await b.channel("c").publish("a", "text", client_id="me")
    await acting.act(ENTER, "me", data=b"\x00")
    await acting.act(LEAVE, "me")
    await b.channel("c").publish("b", b"\xff")
    await b.channel("c").publish("e", extras={"ephemeral": True})
    streams = {
        Stream(acting.app, "c", kind): Span()
        for kind in (Kind.MESSAGES, Kind.EPHEMERAL, Kind.PRESENCE, Kind.CHANNEL)
    }
    return (await b.log.read_merged(streams, limit=100)).records


async def test_runs_are_of_one_sort_and_in_order(acting: Acting) -> None:
    found = list(runs(Batch(await some_of_everything(acting)), SERIES, EVERYTHING))
    assert [(run.sort, len(run.items)) for run in found] == [
        (Sort.MESSAGES, 1),
        (Sort.PRESENCE, 2),
        (Sort.MESSAGES, 2),
    ]
    assert [item["name"] for item in found[0].items + found[2].items] == ["a", "b", "e"]
    assert [item["action"] for item in found[1].items] == [
        PresenceAction.ENTER,
        PresenceAction.LEAVE,
    ]
    serials = [run.serial for run in found]
    assert serials == sorted(serials)
    assert found[2].serial == found[2].items[-1]["serial"]


@pytest.mark.parametrize(
    ("view", "names"),
    [
        (View(False, messages=True, presence=False), ["a", "b", "e"]),
        (View(False, messages=False, presence=True), [None, None]),
        (View(False, messages=False, presence=False), []),
    ],
)
async def test_a_view_shows_what_it_is_of(
    acting: Acting, view: View, names: list[str | None]
) -> None:
    items = told(await some_of_everything(acting), view)
    assert [item.get("name") for item in items] == names


async def test_binary_data_by_format(acting: Acting) -> None:
    records = await some_of_everything(acting)
    in_text = told(records)
    in_binary = told(records, EVERYTHING._replace(binary=True))
    assert [(i.get("data"), i.get("encoding")) for i in in_text if "data" in i] == [
        ("text", None),
        ("AA==", "base64"),
        ("AA==", "base64"),
        ("/w==", "base64"),
    ]
    assert [i["data"] for i in in_binary if "data" in i] == ["text", b"\x00", b"\x00", b"\xff"]


async def test_one_connection_does_not_hear_itself(acting: Acting) -> None:
    held = await acting.broker.epoch.connections.open(acting.app, None)
    channel = acting.broker.channel("c")
    await channel.publish_all([Message(name="mine", connection_key=held.key)])
    await channel.publish("theirs")
    records = await acting.records(Kind.MESSAGES)
    silent = told(records, EVERYTHING._replace(without=held.id))
    assert [item["name"] for item in silent] == ["theirs"]
    assert Batch(records).publishers == {held.id, None}


async def test_runs_are_split_between_publishes_once_they_are_large(
    acting: Acting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "RUN_BYTES", 2_000)
    for first in range(0, 12, 4):
        batch = [Message(name=str(first + n), data="x" * 600) for n in range(4)]
        await acting.broker.channel("c").publish_all(batch)
    found: list[Run] = list(runs(Batch(await acting.records(Kind.MESSAGES)), SERIES, EVERYTHING))
    assert [[item["name"] for item in run.items] for run in found] == [
        [str(first + n) for n in range(4)] for first in range(0, 12, 4)
    ]
    assert [run.serial for run in found] == [run.items[-1]["serial"] for run in found]
