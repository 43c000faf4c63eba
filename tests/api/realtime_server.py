"""The realtime server on a loopback port, and clients that speak raw protocol messages to it."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import trio
from websockets.frames import Frame, Opcode

import broker
from api.app import create_app
from api.listener import Listening, serve
from api.realtime.protocol import Action
from api.realtime.server import Realtime, realtime
from api.settings import ServerSettings
from broker import Broker, BrokerSettings
from tests.api.websocket_client import WebSocketClient

STUCK_S = 30  # only ever passes when a test hangs
Message = dict[str, Any]
CODINGS = {Opcode.TEXT: msgspec.json, Opcode.BINARY: msgspec.msgpack}


class Closed(Exception):
    """The server closed the connection. `code`: of its close frame, None without one."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class RealtimeClient:
    """A WebSocket, and the protocol on it."""

    def __init__(self, socket: WebSocketClient, *, binary: bool) -> None:
        self.socket = socket
        self.binary = binary
        self.connected: Message = {}

    @property
    def id(self) -> str:
        return str(self.connected["connectionId"])

    @property
    def key(self) -> str:
        return str(self.connected["connectionKey"])

    async def says(self, action: int, **fields: Any) -> None:
        coding = msgspec.msgpack if self.binary else msgspec.json
        message = coding.encode({"action": action, **fields})
        await self.socket.send(message, text=not self.binary)

    async def next(self) -> Message:
        """Raises Closed at the end."""
        with trio.fail_after(STUCK_S):
            frame = await self.socket.event()
        if frame is None:
            raise Closed(None)
        assert isinstance(frame, Frame)
        if frame.opcode is Opcode.CLOSE:
            with suppress(trio.BrokenResourceError):
                await self.socket.flush()
            raise Closed(int.from_bytes(frame.data[:2]) if frame.data else None)
        message: Message = CODINGS[frame.opcode].decode(frame.data)
        return message

    async def hears(self, action: int, **fields: Any) -> Message:
        message = await self.next()
        found = {name: message.get(name) for name in fields}
        assert (message["action"], found) == (action, fields), message
        return message

    async def hears_error(self, action: int, code: int, status: int) -> None:
        error = (await self.hears(action, channel=None))["error"]
        assert (error["code"], error["statusCode"]) == (code, status), error

    async def names(self, channel: str, count: int) -> list[str]:
        """Of the next messages of a channel; ACKs between them are left out."""
        found: list[str] = []
        while len(found) < count:
            message = await self.next()
            if message["action"] == Action.MESSAGE:
                assert message["channel"] == channel
                found += [item["name"] for item in message["messages"]]
            else:
                assert message["action"] == Action.ACK, message
        assert len(found) == count
        return found

    async def attach(self, channel: str, **fields: Any) -> Message:
        await self.says(Action.ATTACH, channel=channel, **fields)
        return await self.hears(Action.ATTACHED, channel=channel)

    async def publish(self, channel: str, serial: int, name: str, data: str = "") -> None:
        messages = [{"name": name, "data": data}]
        await self.says(Action.MESSAGE, channel=channel, msgSerial=serial, messages=messages)

    async def closed(self) -> int | None:
        """Hear nothing but the end."""
        try:
            message = await self.next()
        except Closed as end:
            return end.code
        raise AssertionError(f"not closed, but {message}")

    def vanish(self) -> None:
        """Reset the connection."""
        assert isinstance(self.socket.stream, trio.SocketStream)
        self.socket.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.stream.socket.close()


@dataclass
class RealtimeServer:
    broker: Broker
    realtime: Realtime
    listening: Listening
    stop: trio.Event
    stopped: trio.Event
    streams: list[trio.SocketStream]

    @property
    def key(self) -> str:
        return self.broker.apps.keys(self.broker.default_app())[0].string

    async def open(
        self, *, receive_bytes: int | None = None, binary: bool = False, **query: str
    ) -> RealtimeClient:
        """A client whose WebSocket was accepted."""
        plain = trio.socket.socket()
        if receive_bytes is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        await plain.connect(("127.0.0.1", self.listening.port))
        stream = trio.SocketStream(plain)
        self.streams.append(stream)
        query["format"] = "msgpack" if binary else "json"
        client = WebSocketClient(stream, f"/?{urlencode(query)}")
        assert (await client.open()).status_code == 101
        return RealtimeClient(client, binary=binary)

    async def connect(self, **options: Any) -> RealtimeClient:
        """A client that heard CONNECTED."""
        client = await self.open(**{"key": self.key, **options})
        client.connected = await client.hears(Action.CONNECTED)
        return client

    async def settled(self) -> None:
        """Until what is on its way to the log is on disk and handed on."""
        await self.broker.channel("settled").publish()
        with trio.fail_after(STUCK_S):
            while self.broker.epoch.hub.position < self.broker.log.position:
                await trio.lowlevel.checkpoint()

    async def until_gone(self) -> None:
        """Until no session is left."""
        with trio.fail_after(STUCK_S):
            while self.realtime.sessions:
                await trio.lowlevel.checkpoint()


@asynccontextmanager
async def realtime_server(
    path: Path, *, settings: BrokerSettings | None = None, **limits: Any
) -> AsyncIterator[RealtimeServer]:
    server_settings = ServerSettings(port=0, **limits)
    stop, stopped = trio.Event(), trio.Event()
    async with (
        broker.open(path, settings=settings) as opened,
        realtime(opened, server_settings) as handler,
        trio.open_nursery() as nursery,
    ):

        async def run(task_status: trio.TaskStatus[Listening]) -> None:
            application = create_app(opened, server_settings)
            await serve(
                application,
                server_settings,
                None,
                realtime=handler,
                shutdown=stop,
                task_status=task_status,
            )
            stopped.set()

        listening = await nursery.start(run)
        server = RealtimeServer(opened, handler, listening, stop, stopped, [])
        try:
            yield server
        finally:
            stop.set()
            with trio.CancelScope(shield=True):
                for stream in server.streams:
                    await trio.aclose_forcefully(stream)
