"""What devices were told is counted right, and a notification that one missed does not pass."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import msgspec
import pytest
import trio

from bench.acknowledged import Wrong
from bench.http_client import Client
from bench.push import Fanout
from bench.push_devices import register, settings
from bench.push_frames import Frames, Unexpected
from bench.push_gateway import Counted, Gateway, counting_gateway
from bench.realtime.server import Server

_HEAD = [(":method", "POST"), (":authority", "a"), (":scheme", "https")]


class Asking:
    """The bytes of a client that h2 speaks for."""

    def __init__(self) -> None:
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()

    def notify(self, device: str, id_: str, run: int = 1, part_bytes: int = 1_000) -> bytes:
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [*_HEAD, (":path", device), ("apns-id", id_)])
        body = msgspec.json.encode({"run": run, "aps": {"alert": "x" * 100}})
        for begin in range(0, len(body), part_bytes):
            self.h2.send_data(stream, body[begin : begin + part_bytes])
        self.h2.end_stream(stream)
        return self.h2.data_to_send()

    def answers(self, data: bytes) -> list[int]:
        """The streams that have been answered 200."""
        events = self.h2.receive_data(data)
        over = {e.stream_id for e in events if isinstance(e, h2.events.StreamEnded)}
        said = [e for e in events if isinstance(e, h2.events.ResponseReceived)]
        assert {e.stream_id for e in said} == over
        assert all(dict(e.headers or ()) == {":status": "200"} for e in said)
        return sorted(over)


@asynccontextmanager
async def gateway() -> AsyncIterator[tuple[int, int]]:
    """Without TLS. The ports for notifications and for questions."""
    one = Gateway()
    async with trio.open_nursery() as nursery:
        ports = []
        for serve in (one.notified, one.asked):
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, serve, listeners)
            ports.append(listeners[0].socket.getsockname()[1])
        yield ports[0], ports[1]
        nursery.cancel_scope.cancel()


async def tell(port: int, asking: Asking, pieces: list[bytes], answers: int) -> None:
    """Returns when all are answered."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        for piece in pieces:
            await stream.send_all(piece)
        answered: list[int] = []
        while len(answered) < answers:
            answered += asking.answers(bytes(await stream.receive_some()))


async def counted(port: int, run: int, devices: int) -> Counted:
    async with Client(port, "key") as client:
        answer, _ = await client.get(f"/{run}/{devices}")
    return msgspec.json.decode(answer, type=Counted)


@pytest.mark.parametrize("seed", range(5))
async def test_notifications_are_counted_wherever_a_stream_is_cut(seed: int):
    print(f"seed {seed}")
    chance, asking = random.Random(seed), Asking()
    said = [(f"/d{n}", f"id{n}") for n in range(30)]
    said += chance.sample(said, 7)
    stream = b"".join(asking.notify(*one, part_bytes=chance.randint(1, 200)) for one in said)
    cuts = sorted(chance.sample(range(1, len(stream)), 25))
    pieces = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]
    async with gateway() as (port, questions):
        await tell(port, asking, pieces, len(said))
        found = await counted(questions, 1, 30)
        assert (found.received, found.devices, found.ids, found.twice) == (37, 30, 30, 7)
        assert (await counted(questions, 2, 0)).received == 0
    found.check(30)


async def test_whoever_asks_waits_until_so_many_devices_were_told():
    answers: list[int] = []

    async def ask(port: int) -> None:
        answers.append((await counted(port, 1, 2)).devices)

    async with gateway() as (port, questions):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, questions)
            asking = Asking()
            await tell(port, asking, [asking.notify("/a", "1"), asking.notify("/a", "1")], 2)
            await counted(questions, 1, 1)
            assert answers == []
            asking = Asking()
            await tell(port, asking, [asking.notify("/b", "2")], 1)
        assert answers == [2]


def test_more_than_a_window_of_notifications_is_taken():
    """The client's library counts the window, and refuses to send where there is none."""
    asking = Asking()
    frames = Frames(lambda path, id_, body: None)
    for number in range(1_000):
        asking.answers(frames.receive(asking.notify(f"/{number}", str(number))))


def test_a_gateway_takes_what_it_understands_and_nothing_else():
    with pytest.raises(Unexpected, match="no HTTP/2"):
        Frames(lambda path, id_, body: None).receive(b"GET / HTTP/1.1\r\nhost: there\r\n\r\n")
    asking = Asking()
    asking.h2.send_headers(1, [*_HEAD, (":path", "/")], priority_weight=7)
    with pytest.raises(Unexpected, match="frame 1"):
        Frames(lambda path, id_, body: None).receive(asking.h2.data_to_send())


def test_pings_and_settings_are_answered():
    asking, frames = Asking(), Frames(lambda path, id_, body: None)
    asking.h2.ping(b"12345678")
    events = asking.h2.receive_data(frames.receive(asking.h2.data_to_send()))
    kinds = {type(event) for event in events}
    assert {h2.events.PingAckReceived, h2.events.SettingsAcknowledged} <= kinds


def test_a_device_that_was_not_told_is_missed():
    with pytest.raises(Wrong, match="2 of 3 devices"):
        Counted(received=5, devices=2, ids=2, last_s=0.0).check(3)


def test_a_notification_that_comes_again_under_another_id_is_found():
    with pytest.raises(Wrong, match="by 4 ids"):
        Counted(received=4, devices=3, ids=4, last_s=0.0).check(3)


async def test_what_a_server_does_not_deliver_is_missed(tmp_path: Path):
    with counting_gateway(tmp_path) as reached:
        server = Server(tmp_path / "push")  # which has no key for APNs
        await register(server.data, (1, 3))
        try:
            server.start()
            fanout = Fanout(server, reached, patience_s=0.3)
            await fanout.publish(3)
            with pytest.raises(Wrong, match="3 of 3 devices were not told"):
                await fanout.told(3)
        finally:
            server.stop()


async def test_a_kill_after_everybody_was_told_interrupts_nothing(tmp_path: Path):
    with counting_gateway(tmp_path) as reached:
        server = Server(tmp_path / "push", settings=settings(tmp_path, reached))
        await register(server.data, (1,))
        try:
            server.start()
            fanout = Fanout(server, reached)
            assert (await fanout.turn(1)).twice == 0
            with pytest.raises(Wrong, match="before the kill"):
                await fanout.cut_off(1, told=1)
        finally:
            server.stop()
