"""What is measured of changes and annotations is checked, and that check can fail."""

from pathlib import Path

import pytest

from bench.acknowledged import Wrong, payload
from bench.annotations import TYPES, _Channel
from bench.mutable import mutable
from bench.realtime.appends import AppendPublisher
from bench.realtime.filters import filtered
from bench.realtime.server import serving
from bench.realtime.tidelog import TidelogWire
from bench.realtime.wires import receive_until
from bench.versions import Versioned
from broker import Message
from broker.channels import channel_name
from broker.channels.message_filter import message_filter


@pytest.mark.parametrize("type_", TYPES)
async def test_an_annotation_that_was_not_made_is_missed(tmp_path: Path, type_: str):
    async with mutable(tmp_path) as opened:
        channel = _Channel(opened)
        message = await channel.publish()
        await channel.annotate(message, type_, 3)
        await channel.check(message, type_)
        message.annotations += 1
        with pytest.raises(Wrong, match="4 annotations were made, the summary has 3"):
            await channel.check(message, type_)


async def test_a_version_that_was_not_made_is_missed(tmp_path: Path):
    async with mutable(tmp_path) as opened:
        message = Versioned(opened, 205)
        await message.fill()
        places = await message.places()
        assert places["first"] is None
        page = await message.page(places["last"])
        assert page.messages[0].data == payload(100)
        message.changes = 206
        with pytest.raises(Wrong, match="206 versions of 207"):
            await message.places()


async def test_a_fragment_that_was_not_appended_is_missed(tmp_path: Path):
    with serving(tmp_path / "server") as server:
        server.set_namespace("mutable", "--mutable-messages")
        publisher = AppendPublisher(TidelogWire(server.port, server.pid), "mutable:grows")
        received = b""
        for number in range(3):
            publisher.socket.sendall(publisher.frame(number, 24))
            received += receive_until(
                publisher.socket, lambda said: publisher.acknowledged(said) == 1
            )
            publisher.of = publisher.of or publisher.serials(received)[0]
        await publisher.check(received, range(3))
        with pytest.raises(Wrong, match="3 serials for 4 messages"):
            await publisher.check(received, range(4))
        with pytest.raises(Wrong, match="not the 3 sent"):
            await publisher.check(received, range(1, 4))
        publisher.socket.close()


def test_filters_are_all_different_and_pass_every_message():
    names = [channel_name.parse(filtered("orders", number)) for number in range(100)]
    assert len({name.expression for name in names}) == 100
    assert {name.name for name in names} == {"orders"}
    said = Message(data="x", extras={"headers": {"price": 1_000, "kind": "trade"}})
    assert all(message_filter(name.expression or "").matches(said) for name in names)
