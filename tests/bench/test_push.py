"""What devices were told is counted right, and a notification that one missed does not pass."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
import trio

from bench.acknowledged import Wrong
from bench.http_client import Client
from bench.push import Fanout
from bench.push_devices import register
from bench.push_gateway import Counted, Gateway, counting_gateway
from bench.realtime.server import Server

LOOPBACK = "push.allow_loopback_targets=true"


def notification(device: str, id_: str, run: int = 1) -> bytes:
    """As the webhook transport sends it."""
    body = msgspec.json.encode(
        {"id": id_, "app": "a", "payload": {"data": {"run": run}}, "expires": 0}
    )
    head = f"POST /{device} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@asynccontextmanager
async def gateway() -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, Gateway().serve, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def tell(port: int, pieces: list[bytes], answers: int) -> None:
    """Returns when all are answered."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        for piece in pieces:
            await stream.send_all(piece)
        received = b""
        while received.count(b"HTTP/1.1 204") < answers:
            received += await stream.receive_some()


async def counted(port: int, run: int, devices: int) -> Counted:
    async with Client(port, "key") as client:
        answer, _ = await client.get(f"/{run}/{devices}")
    return msgspec.json.decode(answer, type=Counted)


@pytest.mark.parametrize("seed", range(5))
async def test_notifications_are_counted_wherever_a_stream_is_cut(seed: int):
    chance = random.Random(seed)
    said = [(f"d{n}", f"id{n}") for n in range(30)]
    said += chance.sample(said, 7)
    stream = b"".join(notification(device, id_) for device, id_ in said)
    cuts = sorted(chance.sample(range(1, len(stream)), 25))
    pieces = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]
    async with gateway() as port:
        await tell(port, pieces, len(said))
        found = await counted(port, 1, 30)
        assert (found.received, found.devices, found.ids, found.twice) == (37, 30, 30, 7)
        assert (await counted(port, 2, 0)).received == 0
    found.check(30)


async def test_whoever_asks_waits_until_so_many_devices_were_told():
    answers: list[int] = []

    async def ask(port: int) -> None:
        answers.append((await counted(port, 1, 2)).devices)

    async with gateway() as port:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, port)
            await tell(port, [notification("a", "1"), notification("a", "1")], 2)
            await counted(port, 1, 1)
            assert answers == []
            await tell(port, [notification("b", "2")], 1)
        assert answers == [2]


def test_a_device_that_was_not_told_is_missed():
    with pytest.raises(Wrong, match="2 of 3 devices"):
        Counted(received=5, devices=2, ids=2, last_s=0.0).check(3)


def test_a_notification_that_comes_again_under_another_id_is_found():
    with pytest.raises(Wrong, match="by 4 ids"):
        Counted(received=4, devices=3, ids=4, last_s=0.0).check(3)


async def test_what_a_server_does_not_deliver_is_missed(tmp_path: Path):
    with counting_gateway() as port:
        server = Server(tmp_path / "push")  # which refuses targets on this machine
        await register(server.data, (1, 3), port)
        try:
            server.start()
            fanout = Fanout(server, port, patience_s=0.3)
            await fanout.publish(3)
            with pytest.raises(Wrong, match="3 of 3 devices were not told"):
                await fanout.told(3)
        finally:
            server.stop()


async def test_a_kill_after_everybody_was_told_interrupts_nothing(tmp_path: Path):
    with counting_gateway() as port:
        server = Server(tmp_path / "push", settings=(LOOPBACK,))
        await register(server.data, (1,), port)
        try:
            server.start()
            fanout = Fanout(server, port)
            assert (await fanout.turn(1)).twice == 0
            with pytest.raises(Wrong, match="before the kill"):
                await fanout.cut_off(1, told=1)
        finally:
            server.stop()
