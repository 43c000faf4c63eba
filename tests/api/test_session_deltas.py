"""Deltas as conversations: a client that keeps what an SDK keeps must decode every message,
whatever happens to it, and is sent deltas wherever it can be."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import broker
from api.realtime.protocol import HAS_BACKLOG, RESUMED, Action
from broker import Message
from broker.interactions.state import APPEND
from broker.messages import vcdiff
from tests.api.conversation import Client, Talk, talking
from tests.broker.interactions.editing import CHANNEL, Editing, reaction
from tests.broker.messages.rfc3284 import decode

DELTA = {"delta": "vcdiff"}
Item = dict[str, Any]


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    async with broker.open(tmp_path / "data") as b, talking(b) as t:
        await Editing(b).prepare()
        yield t


@pytest.fixture
def m(talk: Talk) -> Editing:
    return Editing(talk.broker)


class Decoder:
    """What an SDK keeps of a channel (RTL19, RTL20)."""

    def __init__(self) -> None:
        self.payload: bytes | None = None
        self.id: str | None = None
        self.deltas = 0

    def take(self, item: Item) -> tuple[Any, str | None]:
        """Data and encoding, without any delta."""
        data, encoding = item.get("data"), item.get("encoding")
        steps = encoding.split("/") if encoding else []
        if steps[-1:] == ["base64"]:
            data = base64.b64decode(data)
            steps.pop()
        if steps[-1:] == ["vcdiff"]:
            assert item["extras"]["delta"] == {"from": self.id, "format": "vcdiff"}
            assert self.payload
            data = decode(self.payload, data).target
            steps.pop()
            self.deltas += 1
        else:
            assert "delta" not in item.get("extras", {})
        self.payload = data.encode() if isinstance(data, str) else data
        self.id = item["id"]
        if steps[-1:] == ["utf-8"] and isinstance(data, bytes):
            data = data.decode()
            steps.pop()
        return data, "/".join(steps) or None


async def attached(talk: Talk, channel: str = CHANNEL, **more: Any) -> Client:
    client = await talk.connect(**more)
    reply = await client.attach(channel, params=DELTA)
    assert reply["params"] == DELTA
    return client


async def heard(client: Client, decoder: Decoder, count: int, channel: str = CHANNEL) -> list[Any]:
    return [decoder.take(item)[0] for item in await client.hears_items(channel, count)]


def documents(count: int) -> list[str]:
    return ["x" * 500 + str(number) + "ü" * 100 for number in range(count)]


PAYLOADS: list[tuple[Any, str | None]] = [
    ("text", None),
    ('{"a":1}', "json"),
    (b"\x00\xff" * 50, None),
    ("text again, ü", None),
    (b"sealed", "json/utf-8/cipher+aes-128-cbc"),
    (b"sealed again", "json/utf-8/cipher+aes-128-cbc"),
    ("opaque", "foo/bar"),
    ("x", None),
    (b"x", "foo"),
]


@pytest.mark.parametrize("binary", [True, False])
async def test_each_is_a_delta_of_the_one_before(talk: Talk, m: Editing, binary: bool) -> None:
    me, decoder = await attached(talk, binary=binary), Decoder()
    await talk.broker.publish(
        m.principal, CHANNEL, [Message(data=data, encoding=encoding) for data, encoding in PAYLOADS]
    )
    for data, encoding in PAYLOADS:
        await m.publish(data, encoding=encoding)
    items = await me.hears_items(CHANNEL, 2 * len(PAYLOADS))
    assert [decoder.take(item) for item in items] == PAYLOADS * 2
    assert decoder.deltas == len(items) - 1


async def test_a_delta_is_small_and_extras_are_kept(talk: Talk, m: Editing) -> None:
    me, decoder = await attached(talk, binary=True), Decoder()
    for document in documents(2):
        await m.publish(document, extras={"headers": {"a": 1}})
    first, second = await me.hears_items(CHANNEL, 2)
    assert first["extras"] == {"headers": {"a": 1}}
    assert second["extras"] == {
        "headers": {"a": 1},
        "delta": {"from": first["id"], "format": "vcdiff"},
    }
    assert len(second["data"]) < 40
    assert [decoder.take(item)[0] for item in (first, second)] == documents(2)
    stored = (await talk.broker.channel(CHANNEL).history()).messages[0]
    assert (stored.data, stored.extras) == (documents(2)[1], {"headers": {"a": 1}})


@pytest.mark.parametrize("data", [None, "", b""])
async def test_after_no_data_the_next_goes_whole(talk: Talk, m: Editing, data: Any) -> None:
    """And what is empty is a delta itself, where there is a base."""
    me, decoder = await attached(talk), Decoder()
    for given in ("a", data, "b", "c"):
        await m.publish(given)
    items = await me.hears_items(CHANNEL, 4)
    found = [decoder.take(item)[0] for item in items]
    assert [one or None for one in found] == ["a", None, "b", "c"]
    assert "delta" not in items[2].get("extras", {})
    assert decoder.deltas == (1 if data is None else 2)


async def test_other_params_are_no_deltas(talk: Talk, m: Editing) -> None:
    me = await talk.connect()
    await me.attach(CHANNEL, params={"delta": "other"})
    for _ in range(2):
        await m.publish("x")
    assert all("extras" not in item for item in await me.hears_items(CHANNEL, 2))


async def test_after_overflow_and_a_gap(talk: Talk, m: Editing) -> None:
    """What was dropped never arrived: what is read from disk begins whole."""
    me, decoder = await attached(talk), Decoder()
    texts = documents(9)
    for text in texts[:3]:
        await m.publish(text)
    assert await heard(me, decoder, 3) == texts[:3]
    me.outbox.stall()
    for text in texts[3:6]:
        await m.publish(text)
    await talk.settled()
    me.outbox.wake()
    assert await heard(me, decoder, 3) == texts[3:6]
    assert decoder.deltas == 4
    for text in texts[6:]:
        await m.publish(text)
    assert await heard(me, decoder, 3) == texts[6:]


async def test_a_message_of_occupancy_is_kept_as_one_by_the_client(talk: Talk, m: Editing) -> None:
    """It is told outside the channel's order, so nothing is a delta of it, or skips it."""
    me, decoder = await talk.connect(), Decoder()
    await me.attach(CHANNEL, params={**DELTA, "occupancy": "metrics"})
    for text in documents(3):
        await m.publish(text)
    await (await talk.connect()).attach(CHANNEL)
    await talk.settled()
    for text in documents(3):
        await m.publish(text)
    texts = []
    while len(texts) < 6:
        for item in (await me.hears(Action.MESSAGE))["messages"]:
            data, _ = decoder.take(item)
            if item["action"] == 0:
                texts.append(data)
    assert texts == documents(3) * 2
    assert decoder.deltas >= 2


async def test_appends_and_summaries_between(talk: Talk, m: Editing) -> None:
    """A fragment is no delta, and its data is what the client keeps; a summary has none."""
    me, decoder = await attached(talk), Decoder()
    serial = await m.publish("a" * 100)
    await m.append(serial, "b" * 100)
    await m.append(serial, "b" * 99)
    await m.update(serial, "b" * 98)
    await m.annotate(serial, reaction("x", method="total.v1"))
    await m.delete(serial, data="c")
    await m.publish("d")
    items = await me.hears_items(CHANNEL, 7)
    found = [(item["action"], decoder.take(item)[0]) for item in items]
    assert found == [
        (0, "a" * 100), (APPEND, "b" * 100), (APPEND, "b" * 99), (1, "b" * 98),
        (4, None), (2, "c"), (0, "d"),
    ]  # fmt: skip
    assert decoder.deltas == 2
    assert not any("delta" in item.get("extras", {}) for item in items if item["action"] == APPEND)


async def test_recovery(talk: Talk, m: Editing) -> None:
    """A client that could not make sense of a delta attaches again from what it understood last
    (RTL18c): it is replayed what lies behind, and that begins whole."""
    me = await attached(talk)
    texts = documents(5)
    for text in texts:
        await m.publish(text)
    items = await me.hears_items(CHANNEL, 5)
    reply = await me.attach(CHANNEL, params=DELTA, channelSerial=items[1]["serial"])
    assert reply["flags"] & 0xFF == RESUMED | HAS_BACKLOG
    decoder = Decoder()
    assert await heard(me, decoder, 3) == texts[2:]
    assert decoder.deltas == 2
    await m.publish(texts[0])
    assert await heard(me, decoder, 1) == texts[:1]
    assert decoder.deltas == 3
    await talk.settled()
    me.hears_nothing_more()


async def test_other_options_are_no_recovery(talk: Talk, m: Editing) -> None:
    """A client that wants something else is attached all the while: nothing is told it twice."""
    me = await attached(talk)
    for text in documents(3):
        await m.publish(text)
    items = await me.hears_items(CHANNEL, 3)
    for more in ({"modes": "subscribe"}, {"modes": "subscribe,publish"}, {}):
        reply = await me.attach(CHANNEL, params={**DELTA, **more}, channelSerial=items[0]["serial"])
        assert reply["flags"] & 0xFF == RESUMED
        decoder = Decoder()
        for text in documents(2):
            await m.publish(text)
        assert await heard(me, decoder, 2) == documents(2)
        assert decoder.deltas == 1
    me.hears_nothing_more()


async def test_attaching_again_begins_whole(talk: Talk, m: Editing) -> None:
    """With the param, and after it was without."""
    me = await attached(talk)
    texts = documents(6)
    for number in (0, 2, 4):
        await me.attach(CHANNEL, params=DELTA if number != 2 else {})
        decoder = Decoder()
        for text in texts[number : number + 2]:
            await m.publish(text)
        assert await heard(me, decoder, 2) == texts[number : number + 2]
        assert decoder.deltas == (0 if number == 2 else 1)


async def test_a_resumed_attachment_and_a_rewound_one(talk: Talk, m: Editing) -> None:
    texts = documents(6)
    me = await attached(talk)
    await m.publish(texts[0])
    (seen,) = await me.hears_items(CHANNEL, 1)
    me.vanishes()
    for text in texts[1:4]:
        await m.publish(text)
    again, rewound = await talk.connect(), await talk.connect(binary=True)
    await again.attach(CHANNEL, params=DELTA, channelSerial=seen["serial"])
    await rewound.attach(CHANNEL, params={**DELTA, "rewind": "3"})
    decoders = Decoder(), Decoder()
    for client, decoder in zip((again, rewound), decoders, strict=True):
        assert await heard(client, decoder, 3) == texts[1:4]
    for text in texts[4:]:
        await m.publish(text)
    for client, decoder in zip((again, rewound), decoders, strict=True):
        assert await heard(client, decoder, 2) == texts[4:]
        assert decoder.deltas == 4


async def test_without_echo(talk: Talk, m: Editing) -> None:
    """Its own messages are none that it holds."""
    me, decoder = await attached(talk, client_id="me", echo=False), Decoder()
    await m.publish("others 1")
    me.publishes(CHANNEL, "mine", data="mine")
    await me.hears(Action.ACK)
    await m.publish("others 2")
    assert await heard(me, decoder, 2) == ["others 1", "others 2"]
    assert decoder.deltas == 1


async def test_the_same_base_is_encoded_once(
    talk: Talk, m: Editing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a hundred attachments, and for one that holds it by another history; in both
    formats."""
    indexed, encoded = 0, 0
    make, encode = vcdiff.Source.__init__, vcdiff.Source.encode

    def counted_make(self: vcdiff.Source, *arguments: Any) -> None:
        nonlocal indexed
        indexed += 1
        make(self, *arguments)

    def counted_encode(self: vcdiff.Source, target: bytes) -> bytes:
        nonlocal encoded
        encoded += 1
        return encode(self, target)

    monkeypatch.setattr(vcdiff.Source, "__init__", counted_make)
    monkeypatch.setattr(vcdiff.Source, "encode", counted_encode)
    clients = [await attached(talk, binary=number % 2 == 0) for number in range(100)]
    decoders = [Decoder() for _ in clients]
    texts = documents(5)
    for text in texts[:2]:
        await m.publish(text)
    late = await talk.connect()
    await late.attach(CHANNEL, params={**DELTA, "rewind": "1"})
    late_decoder = Decoder()
    assert await heard(late, late_decoder, 1) == texts[1:2]
    await talk.settled()
    for text in texts[2:]:
        await m.publish(text)
    for client, decoder in zip(clients, decoders, strict=True):
        assert await heard(client, decoder, 5) == texts
        assert decoder.deltas == 4
    assert await heard(late, late_decoder, 3) == texts[2:]
    assert late_decoder.deltas == 3
    assert (encoded, indexed) == (4, 4)


async def test_a_filter_and_deltas(talk: Talk, m: Editing) -> None:
    """A delta is of the last message that passed."""
    name = '[filter=name == `"a"`]' + CHANNEL
    me, everything = await attached(talk, name), await attached(talk)
    decoders = Decoder(), Decoder()
    texts = documents(6)
    for number, text in enumerate(texts):
        await m.publish(text, name="ab"[number % 2])
    assert await heard(me, decoders[0], 3, name) == texts[::2]
    assert await heard(everything, decoders[1], 6) == texts
    assert [decoder.deltas for decoder in decoders] == [2, 5]
