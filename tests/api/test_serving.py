"""A server inside a trio program: it answers, stops when it is told, and is the program's guest."""

import signal
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import trio

import broker
from api.realtime.protocol import Action
from api.serving import CannotListen, Server, serve_in
from api.settings import ServerSettings
from broker import Broker
from tests.api.realtime_server import RealtimeClient
from tests.api.rest_server import basic
from tests.api.websocket_client import WebSocketClient

STUCK_S = 20
ANY_PORT = ServerSettings(port=0)


def key(b: Broker) -> str:
    return b.apps.keys(b.default_app())[0].string


def client(server: Server, b: Broker) -> httpx.AsyncClient:
    base_url = f"http://127.0.0.1:{server.port}"
    return httpx.AsyncClient(base_url=base_url, headers=basic(key(b)), trust_env=False)


async def test_what_is_published_over_http_is_heard_in_process(tmp_path: Path) -> None:
    with trio.fail_after(STUCK_S):
        async with broker.open(tmp_path / "data") as b, trio.open_nursery() as nursery:
            server = await serve_in(nursery, b, ANY_PORT)
            async with b.channel("c").subscribe() as messages, client(server, b) as http:
                reply = await http.post("/channels/c/messages", json={"name": "n", "data": "d"})
                assert reply.status_code == 201
                assert (await anext(messages)).data == "d"
            server.stop()


async def test_what_is_published_in_process_is_heard_on_a_websocket(tmp_path: Path) -> None:
    with trio.fail_after(STUCK_S):
        async with broker.open(tmp_path / "data") as b, trio.open_nursery() as nursery:
            server = await serve_in(nursery, b, ANY_PORT)
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
                socket = WebSocketClient(stream, f"/?key={quote(key(b))}&format=json")
                assert (await socket.open()).status_code == 101
                heard = RealtimeClient(socket, binary=False)
                await heard.hears(Action.CONNECTED)
                await heard.attach("c")
                await b.channel("c").publish("n", "d")
                assert await heard.names("c", 1) == ["n"]
                server.stop()
                await heard.hears(Action.DISCONNECTED)


async def test_cancelling_the_nursery_stops_it_and_the_broker_goes_on(tmp_path: Path) -> None:
    with trio.fail_after(STUCK_S):
        async with broker.open(tmp_path / "data") as b:
            async with trio.open_nursery() as nursery:
                server = await serve_in(nursery, b, ANY_PORT)
                nursery.cancel_scope.cancel()
            with pytest.raises(OSError, match="connect"):
                await trio.open_tcp_stream("127.0.0.1", server.port)
            await b.channel("c").publish("n")


async def test_two_brokers_on_two_ports_are_two(tmp_path: Path) -> None:
    with trio.fail_after(STUCK_S):
        async with (
            broker.open(tmp_path / "a") as a,
            broker.open(tmp_path / "b") as b,
            trio.open_nursery() as nursery,
        ):
            first, second = [await serve_in(nursery, one, ANY_PORT) for one in (a, b)]
            await a.channel("c").publish("n")
            async with client(first, a) as http, client(second, b) as other:
                assert len((await http.get("/channels/c/messages")).json()) == 1
                assert (await other.get("/channels/c/messages")).json() == []
            nursery.cancel_scope.cancel()


async def test_a_port_that_is_taken_is_said_and_nothing_else_ends(tmp_path: Path) -> None:
    with trio.fail_after(STUCK_S):
        async with broker.open(tmp_path / "data") as b, trio.open_nursery() as nursery:
            server = await serve_in(nursery, b, ANY_PORT)
            with pytest.raises(CannotListen, match=f"port {server.port}: Address already in use"):
                await serve_in(nursery, b, ServerSettings(port=server.port))
            async with client(server, b) as http:
                assert (await http.get("/time")).status_code == 200
            server.stop()


async def test_the_program_s_signals_are_its_own(tmp_path: Path) -> None:
    watched = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in watched]
    async with broker.open(tmp_path / "data") as b, trio.open_nursery() as nursery:
        await serve_in(nursery, b, ANY_PORT)
        assert [signal.getsignal(number) for number in watched] == before
        nursery.cancel_scope.cancel()
