"""A client of Ably's protocol over a WebSocket, that costs little and does as the SDKs do.

A connection that is lost, whether it was cut off here or by the other side, is opened again and
resumed: what was under way is sent again with the serials it had, and every channel is attached
behind the last thing that was seen of it. Where the endpoint gives it another identity instead,
what was under way is `Unknown`.

Frames are made and read by `bench.realtime.frames`. It asks for the protocol's heartbeats and
answers no WebSocket pings. What an endpoint refuses for good ends the run with `Refused`, and so
does one that cannot be reached in the first place.
"""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from bench.load.ably import messages as protocol
from bench.load.ably.endpoint import Endpoint
from bench.load.ably.messages import Received, body_of
from bench.load.ably.rest import Rest
from bench.load.driver import Ability, Receive, Refused, Unknown
from bench.realtime.frames import payloads

ABILITIES: frozenset[Ability] = frozenset(
    ("publish", "subscribe", "history", "presence", "resume", "pause", "pipeline")
)
_READ_BYTES = 1 << 18
_HEAD_BYTES_MAX = 1 << 14
_RETRY_S = 0.2
_FIRST_S = 60.0  # until the first CONNECTED
_AUTHENTICATION = range(40100, 40200)
_UPGRADE = (
    "GET /?key={key}&v=6&format={format}&heartbeats=true{resume} HTTP/1.1\r\n"
    "Host: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class _Lost(Exception):
    """The connection is gone; another one may go on with what it was."""


class _Pending:
    """What was sent and not answered: with its frame, for it may have to be sent again."""

    __slots__ = ("answered", "error", "frame")

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.answered = trio.Event()
        self.error: Exception | None = None

    def answer(self, error: Exception | None = None) -> None:
        self.error = error
        self.answered.set()


@dataclass
class _Channel:
    """modes: what it is attached for. serial: of the last thing that was seen. synced: to be called
    when it is attached again after the connection `was_lost`."""

    modes: int = 0
    receive: Receive | None = None
    watch: Receive | None = None
    synced: Callable[[], None] | None = None
    was_lost: bool = False
    serial: str = ""
    attached: trio.Event = field(default_factory=trio.Event)


class RealtimeConnection:
    """Made by `connect`. reconnected: how often the other side lost it."""

    def __init__(self, endpoint: Endpoint, rest: Rest) -> None:
        self.reconnected = 0
        self._endpoint = endpoint
        self._rest = rest
        self._format = endpoint.format
        self._read = protocol.reader(endpoint.format)
        self._stream: trio.abc.Stream | None = None
        self._outgoing = bytearray()
        self._writable = trio.Event()
        self._reads = trio.Event()
        self._reads.set()
        self._may_open = trio.Event()
        self._may_open.set()
        self._is_open = trio.Event()
        self._is_cut = False
        self._pending: dict[int, _Pending] = {}
        self._serial = 0
        self._channels: dict[str, _Channel] = {}
        self._id = self._key = ""

    async def publish(self, channel: str, body: bytes) -> None:
        said = {"channel": channel, "messages": [{"data": body.decode()}]}
        await self._ask({"action": protocol.MESSAGE, **said})

    async def subscribe(self, channel: str, receive: Receive) -> None:
        self._channel(channel).receive = receive
        await self._attach(channel, protocol.SUBSCRIBE_MODE | protocol.PUBLISH_MODE)

    async def history(self, channel: str, limit: int) -> list[bytes]:
        return await self._rest.history(channel, limit)

    async def enter(self, channel: str, client_id: str, body: bytes) -> None:
        await self._be(channel, protocol.ENTER, client_id, body)

    async def leave(self, channel: str, client_id: str, body: bytes) -> None:
        await self._be(channel, protocol.LEAVE, client_id, body)

    async def _be(self, channel: str, action: int, client_id: str, body: bytes) -> None:
        if not self._channel(channel).modes & protocol.PRESENCE_MODE:
            await self._attach(channel, protocol.PRESENCE_MODE | protocol.PUBLISH_MODE)
        one = {"action": action, "clientId": client_id, "data": body.decode()}
        await self._ask({"action": protocol.PRESENCE, "channel": channel, "presence": [one]})

    async def watch(self, channel: str, receive: Receive) -> None:
        self._channel(channel).watch = receive
        await self._attach(channel, protocol.PRESENCE_SUBSCRIBE_MODE)

    def when_synced(self, channel: str, call: Callable[[], None]) -> None:
        self._channel(channel).synced = call

    async def members(self, channel: str) -> frozenset[str]:
        return await self._rest.members(channel)

    async def pause(self, is_paused: bool) -> None:
        if is_paused:
            self._reads = trio.Event()
        else:
            self._reads.set()

    async def cut(self) -> None:
        self._may_open = trio.Event()
        self._is_open = trio.Event()
        self._is_cut = True
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)

    async def resume(self) -> None:
        self._may_open.set()
        await self._is_open.wait()
        for channel in list(self._channels.values()):
            await channel.attached.wait()

    async def aclose(self) -> None:
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)  # closes also when it is cancelled

    def _channel(self, name: str) -> _Channel:
        return self._channels.setdefault(name, _Channel())

    async def _attach(self, name: str, modes: int) -> None:
        channel = self._channel(name)
        channel.modes |= modes
        channel.attached = trio.Event()
        self._say_attach(name, channel)
        await channel.attached.wait()

    def _say_attach(self, name: str, channel: _Channel) -> None:
        said: dict[str, object] = {"action": protocol.ATTACH, "channel": name}
        said["flags"] = channel.modes
        if channel.serial:
            said["channelSerial"] = channel.serial
        self._say(self._frame(said))

    async def _ask(self, message: dict[str, object]) -> None:
        serial, self._serial = self._serial, self._serial + 1
        pending = _Pending(self._frame({**message, "msgSerial": serial}))
        self._pending[serial] = pending
        self._say(pending.frame)
        await pending.answered.wait()
        if pending.error is not None:
            raise pending.error

    def _frame(self, message: dict[str, object]) -> bytes:
        return self._format.masked(self._format.encode(message))

    def _say(self, frame: bytes) -> None:
        """Nothing is kept for later while there is no connection: the next one says it all."""
        if self._is_open.is_set():
            self._outgoing += frame
            self._writable.set()

    async def run(self) -> None:
        while True:
            await self._may_open.wait()
            try:
                rest = await self._open()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._receive(rest)
            except* (OSError, ssl.SSLError, trio.BrokenResourceError, _Lost) as lost:
                if not self._id:
                    where = f"{self._endpoint.host}:{self._endpoint.port}"
                    first = lost.exceptions[0]
                    reason = first.__cause__ or first  # trio says "broken", and ssl why
                    raise Refused(f"cannot connect to {where}: {reason}") from lost
            except* trio.ClosedResourceError:  # it was cut
                pass
            finally:
                await self.aclose()
            await self._is_lost()

    async def _is_lost(self) -> None:
        for channel in self._channels.values():
            channel.attached = _unset(channel.attached)
            channel.was_lost = True
        self._is_open = _unset(self._is_open)
        self._outgoing.clear()
        was_cut, self._is_cut = self._is_cut, False
        if not was_cut:
            self.reconnected += 1
            await trio.sleep(_RETRY_S)

    async def _open(self) -> bytes:
        self._stream = await self._endpoint.open()
        resume = f"&resume={self._key}" if self._key else ""
        names = {"key": self._endpoint.key, "host": self._endpoint.host, "resume": resume}
        await self._stream.send_all(_UPGRADE.format(format=self._format.name, **names).encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += await self._more()
            if len(received) > _HEAD_BYTES_MAX:
                raise Refused("the endpoint's answer to the upgrade is no HTTP")
        head, _, rest = received.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1]
        if status.startswith(b"4") and status != b"429":
            raise Refused(f"the endpoint refuses a WebSocket: {received.decode(errors='replace')}")
        if status != b"101":
            raise _Lost
        return rest

    async def _more(self) -> bytes:
        assert self._stream is not None
        received = await self._stream.receive_some(_READ_BYTES)
        if not received:
            raise _Lost
        return bytes(received)

    async def _receive(self, received: bytes) -> None:
        """Until it is lost. Raises _Lost, Refused."""
        while True:
            found, received = payloads(received)
            for payload in found:
                message = self._read(payload)
                act = _ACTIONS.get(message.action)
                if act is not None:
                    act(self, message)
            await self._reads.wait()
            received += await self._more()

    async def _write(self) -> None:
        while True:
            await self._writable.wait()
            self._writable = trio.Event()
            outgoing, self._outgoing = self._outgoing, bytearray()
            assert self._stream is not None
            await self._stream.send_all(outgoing)

    def _connected(self, message: Received) -> None:
        is_same = message.connectionId == self._id
        self._id = message.connectionId
        self._key = message.connectionDetails.connectionKey if message.connectionDetails else ""
        if self._is_open.is_set():
            return  # it was told of new details
        self._outgoing.clear()
        self._is_open.set()
        if not is_same:
            self._forget()
        for pending in self._pending.values():
            self._say(pending.frame)
        for name, channel in self._channels.items():
            self._say_attach(name, channel)

    def _forget(self) -> None:
        """Another connection begins its serials again, and knows nothing of what was under way."""
        pending, self._pending, self._serial = self._pending, {}, 0
        for one in pending.values():
            one.answer(Unknown("the connection could not be resumed"))

    def _acknowledged(self, message: Received) -> None:
        for serial in range(message.msgSerial, message.msgSerial + message.count):
            pending = self._pending.pop(serial, None)
            if pending is not None:
                pending.answer()

    def _refused(self, message: Received) -> None:
        for serial in range(message.msgSerial, message.msgSerial + message.count):
            pending = self._pending.pop(serial, None)
            if pending is not None:
                pending.answer(Refused(str(message.error)))

    def _attached(self, message: Received) -> None:
        channel = self._channel(message.channel)
        channel.serial = message.channelSerial or channel.serial
        if channel.was_lost and channel.synced is not None:
            channel.synced()
        channel.was_lost = False
        channel.attached.set()

    def _messages(self, message: Received) -> None:
        channel = self._channel(message.channel)
        channel.serial = message.channelSerial or channel.serial
        if channel.receive is not None:
            for one in message.messages:
                channel.receive(body_of(one))

    def _presence(self, message: Received) -> None:
        channel = self._channel(message.channel)
        channel.serial = message.channelSerial or channel.serial
        if channel.watch is not None:
            for one in message.presence:
                if one.action in (protocol.ENTER, protocol.LEAVE, protocol.UPDATE):
                    channel.watch(body_of(one))

    def _disconnected(self, message: Received) -> None:
        raise _Lost

    def _error(self, message: Received) -> None:
        raise Refused(f"the endpoint says: {message.error}")


_ACTIONS: dict[int, Any] = {
    protocol.ACK: RealtimeConnection._acknowledged,
    protocol.NACK: RealtimeConnection._refused,
    protocol.CONNECTED: RealtimeConnection._connected,
    protocol.ATTACHED: RealtimeConnection._attached,
    protocol.MESSAGE: RealtimeConnection._messages,
    protocol.PRESENCE: RealtimeConnection._presence,
    protocol.DISCONNECTED: RealtimeConnection._disconnected,
    protocol.DETACHED: RealtimeConnection._error,
    protocol.ERROR: RealtimeConnection._error,
}


def _unset(event: trio.Event) -> trio.Event:
    """Whoever waits for an event that is not set goes on waiting for that one."""
    return trio.Event() if event.is_set() else event


@asynccontextmanager
async def connect(endpoint: Endpoint, rest: Rest) -> AsyncIterator[RealtimeConnection]:
    connection = RealtimeConnection(endpoint, rest)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        with trio.move_on_after(_FIRST_S) as waiting:
            await connection.resume()
        if waiting.cancelled_caught:
            raise Refused(f"{endpoint.host}:{endpoint.port} said nothing for {_FIRST_S:.0f} s")
        yield connection
        nursery.cancel_scope.cancel()
