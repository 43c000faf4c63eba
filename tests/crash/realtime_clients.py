"""Raw protocol clients of a broker that gets killed: what they sent, what they were told, and how
they come back, as an SDK would (RTN15, RTN19).

A client keeps what was not acknowledged and sends it again under the same msgSerial on the resumed
connection; a subscriber continues from the last channelSerial it saw.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio
from websockets.frames import Frame, Opcode

from api.realtime.protocol import RESUMED, Action
from tests.api.websocket_client import WebSocketClient
from tests.conformance.serving import KEY

STUCK_S = 60  # only ever passes when a test hangs
Message = dict[str, Any]


class Cut(Exception):
    """The transport is gone."""


@dataclass
class Client:
    """One connection over all its transports."""

    name: str
    channel: str
    modes: int = 0
    id: str = ""
    key: str = ""
    channel_serial: str = ""
    resumed: int = 0
    auth: str = KEY
    remain_ms: int = 1_000
    socket: WebSocketClient | None = None

    async def connect(self, port: int) -> None:
        """A first time, or again: then it must be the same connection, its channel RESUMED."""
        await self.connect_on(await trio.open_tcp_stream("localhost", port))

    async def connected_on(self, stream: trio.SocketStream) -> Message:
        """What it is told when it connects."""
        target = f"/?key={self.auth}&clientId={self.name}&resume={self.key}"
        target += f"&remainPresentFor={self.remain_ms}"
        self.socket = WebSocketClient(stream, target)
        assert (await self.socket.open()).status_code == 101
        connected = await self.next()
        assert connected["action"] == Action.CONNECTED, connected
        return connected

    async def connect_on(self, stream: trio.SocketStream) -> None:
        """As `connect`, on a transport that is there."""
        connected = await self.connected_on(stream)
        assert "error" not in connected, connected
        assert self.id in ("", connected["connectionId"])
        self.resumed += bool(self.id)
        self.id, self.key = connected["connectionId"], connected["connectionKey"]
        await self.attach()

    async def attach(self) -> None:
        again = {"channelSerial": self.channel_serial} if self.channel_serial else {}
        await self.send(Action.ATTACH, channel=self.channel, flags=self.modes, **again)
        while (attached := await self.next())["action"] != Action.ATTACHED:
            self.heard(attached)
        assert bool(attached["flags"] & RESUMED) == bool(again), attached
        assert "error" not in attached, attached
        self.channel_serial = attached["channelSerial"]

    async def send(self, action: int, **fields: Any) -> None:
        assert self.socket is not None
        try:
            message = msgspec.json.encode({"action": action, **fields})
            await self.socket.send(message, text=True)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Cut from None

    async def next(self) -> Message:
        assert self.socket is not None
        return await self.next_on(self.socket)

    async def next_on(self, socket: WebSocketClient) -> Message:
        """From this transport, which may not be the newest."""
        with trio.fail_after(STUCK_S):
            frame = await socket.event()
        if not isinstance(frame, Frame) or frame.opcode is not Opcode.TEXT:
            raise Cut
        message: Message = msgspec.json.decode(frame.data)
        return message

    async def listen(self) -> None:
        """Until the transport is cut."""
        try:
            while True:
                self.heard(await self.next())
        except Cut:
            return

    def heard(self, message: Message) -> None:
        raise NotImplementedError

    async def drop(self) -> None:
        """Its end of the transport goes too."""
        if self.socket is not None:
            await trio.aclose_forcefully(self.socket.stream)


@dataclass
class Publisher(Client):
    """Publishes numbered names, never more than `window` unacknowledged."""

    window: int = 30
    sent: int = 0
    acked: dict[int, str] = field(default_factory=dict)
    nacked: list[Message] = field(default_factory=list)
    room: trio.Event = field(default_factory=trio.Event)

    @property
    def in_doubt(self) -> list[int]:
        return [serial for serial in range(self.sent) if serial not in self.acked]

    def heard(self, message: Message) -> None:
        if message["action"] == Action.NACK:
            self.nacked.append(message)
        if message["action"] != Action.ACK:
            return
        for number, result in enumerate(message["res"], message["msgSerial"]):
            (serial,) = result["serials"]
            assert self.acked.setdefault(number, serial) == serial
        self.room.set()
        self.room = trio.Event()

    async def send_again(self) -> None:
        """RTN19a: what was not acknowledged; and the last that was, which must be told apart."""
        known = sorted(self.acked)[-3:]
        for serial in sorted({*known, *self.in_doubt}):
            await self.publish(serial)

    async def publish(self, serial: int) -> None:
        messages = [{"name": f"{self.name}-{serial}", "data": "x" * (serial % 200)}]
        await self.send(Action.MESSAGE, channel=self.channel, msgSerial=serial, messages=messages)

    async def work(self) -> None:
        """Publish and listen until the transport is cut."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._publish_on)
            await self.listen()
            nursery.cancel_scope.cancel()

    async def _publish_on(self) -> None:
        try:
            await self.send_again()
            while True:
                while len(self.in_doubt) >= self.window:
                    await self.room.wait()
                self.sent += 1
                await self.publish(self.sent - 1)
        except Cut:
            return

    async def until_acknowledged(self) -> None:
        with trio.fail_after(STUCK_S):
            while self.in_doubt:
                await self.room.wait()


@dataclass
class Subscriber(Client):
    """Keeps (name, serial) of everything, in the order it came, and who is present."""

    received: list[tuple[str, str]] = field(default_factory=list)
    present: set[str] = field(default_factory=set)
    left: list[str] = field(default_factory=list)
    news: trio.Event = field(default_factory=trio.Event)

    def heard(self, message: Message) -> None:
        for item in message.get("messages", []):
            self.received.append((item["name"], item["serial"]))
        for item in message.get("presence", []):
            if item["action"] == 3:
                self.present.discard(item["clientId"])
                self.left.append(item["clientId"])
            else:
                self.present.add(item["clientId"])
        if message["action"] == Action.MESSAGE:
            self.channel_serial = message["channelSerial"]
        self.news.set()
        self.news = trio.Event()

    async def until_received(self, count: int) -> None:
        with trio.fail_after(STUCK_S):
            while len(self.received) < count:
                await self.news.wait()

    async def until_left(self, names: set[str]) -> None:
        with trio.fail_after(STUCK_S):
            while self.present & names:
                await self.news.wait()
