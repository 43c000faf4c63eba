"""Tidelog as a wire: WebSocket, JSON or MessagePack, one protocol message a publish."""

import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec

from bench.acknowledged import MESSAGE_BYTES, Acknowledged, Stored, Wrong, number_of
from bench.http_client import Client
from bench.realtime.frames import ACK, HEARTBEAT, JSON, MESSAGE, MSGPACK, Format, payloads
from bench.realtime.sessions import Session, open_sessions
from bench.realtime.wires import TIMEOUT_S, body
from bench.server_process import KEY
from broker.messages import serials

_AT_ONCE = 100  # connections that are being opened


class _Message(msgspec.Struct):
    serial: str
    data: str


_read_page = msgspec.json.Decoder(list[_Message]).decode


@dataclass(frozen=True)
class TidelogWire:
    port: int
    pid: int
    tls: bool = False
    binary: bool = False
    name: str = "tidelog"

    @property
    def format(self) -> Format:
        return MSGPACK if self.binary else JSON

    def publisher(self, channel: str) -> "TidelogPublisher":
        return TidelogPublisher(self, channel)

    def durable_publisher(self, channel: str) -> "TidelogPublisher":
        return TidelogPublisher(self, channel)

    def subscribers(self, channel: str, count: int) -> list[socket.socket]:
        return self.open([Session(channel, self.format) for _ in range(count)])

    def open(self, sessions: list[Session]) -> list[socket.socket]:
        context = _trusting() if self.tls else None
        open_sessions(self.port, sessions, at_once=_AT_ONCE, context=context)
        return [one.socket for one in sessions if one.socket is not None]


class TidelogPublisher:
    """Not attached, so all that it receives is acknowledgements."""

    acknowledges = True

    def __init__(
        self, wire: TidelogWire, channel: str, more: dict[str, object] | None = None
    ) -> None:
        """`more`: other fields of every message."""
        (self.socket,) = wire.open([Session("", wire.format)])
        self.socket.settimeout(TIMEOUT_S)
        self._wire = wire
        self._channel = channel
        self._more = more or {}
        self._rest = b""
        self._serial = 0
        self._format = wire.format

    def frame(self, number: int, size: int = MESSAGE_BYTES) -> bytes:
        return self.framed(self.message(number, size))

    def message(self, number: int, size: int) -> dict[str, object]:
        """That of a number, as it is sent."""
        return {"name": "e", "data": body(number, size).decode(), **self._more}

    def number(self, data: str) -> int:
        """That of a message, by its payload."""
        return number_of(data)

    def framed(self, message: dict[str, object]) -> bytes:
        """The frame of the next protocol message."""
        serial, self._serial = self._serial, self._serial + 1
        return self._format.masked(
            self._format.encode(
                {
                    "action": MESSAGE,
                    "channel": self._channel,
                    "msgSerial": serial,
                    "messages": [message],
                }
            )
        )

    def acknowledged(self, chunk: bytes) -> int:
        """Refusals too; `check` finds them."""
        found, self._rest = payloads(self._rest + chunk)
        return sum(map(self._format.count, found))

    async def check(self, received: bytes, numbers: range) -> None:
        """Every message was acknowledged once, in order, and is in the log under that serial."""
        given = self.serials(received)
        if len(given) != len(numbers):
            raise Wrong(f"{len(given)} of {len(numbers)} messages were acknowledged")
        acknowledged = Acknowledged()
        acknowledged.publisher(list(map(Stored, numbers, map(_serial, given))))
        if not self._wire.tls:
            found = [
                Stored(self.number(data), _serial(serial)) async for serial, data in self.history()
            ]
            acknowledged.check(found)

    def serials(self, received: bytes) -> list[str]:
        """Those that were acknowledged, in order. Raises Wrong."""
        given: list[str] = []
        for message in self._format.messages(received):
            if message.action == HEARTBEAT:
                continue
            if message.action != ACK or message.msgSerial != len(given):
                raise Wrong(f"not the acknowledgement of message {len(given)}: {message}")
            given += [serial for result in message.res for serial in result.serials]
            if message.count != len(message.res) or len(given) != message.msgSerial + message.count:
                raise Wrong(f"count and serials differ: {message}")
        return given

    async def history(self) -> AsyncIterator[tuple[str, str]]:
        """(serial, data) of every message of the channel, oldest first."""
        path = f"/channels/{self._channel}/messages"
        query: str | None = "?direction=forwards&limit=1000"
        async with Client(self._wire.port, KEY) as client:
            while query:
                page, query = await client.get(path + query)
                for message in _read_page(page):
                    yield message.serial, message.data


def _serial(text: str) -> int:
    return serials.parse(text, text.partition("@")[2].partition(":")[0])


def _trusting() -> ssl.SSLContext:
    """The certificate is the server's own, for development."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
