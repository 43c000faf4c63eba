"""Opening many connections to Tidelog at once: upgrade, CONNECTED, ATTACH, ATTACHED, each a small
state machine over one epoll.

As SDKs do, a session that is refused or cut off tries again after a moment, and one that was
connected before asks to resume, and to continue its channel from the last channelSerial it saw.
"""

import select
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

from bench.acknowledged import Wrong
from bench.realtime.frames import ATTACH, ATTACHED, CONNECTED, JSON, Format, Received, payloads
from bench.realtime.wires import LOOPBACK, TIMEOUT_S
from bench.server_process import KEY

_RETRY_S = 0.2
_READ_BYTES = 1 << 16
_UPGRADE = (
    "GET /?key={key}&v=6&format={format}&heartbeats=false{resume} HTTP/1.1\r\n"
    "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_SWITCHED = b"HTTP/1.1 101 "


class _Refused(Exception):
    """Not now: try again."""


class Session:
    """`is_resumed`: the last ATTACHED said so. An empty channel: only connect. `params`: those to
    attach with."""

    def __init__(
        self, channel: str, spoken: Format = JSON, params: dict[str, str] | None = None
    ) -> None:
        self.channel = channel
        self.format = spoken
        self.params = params
        self.socket: socket.socket | None = None
        self.connection_id = ""
        self.kept_id = False
        self.flags = 0
        self._key = ""
        self._serial = ""
        self._received = b""
        self._is_upgraded = False

    def upgrade(self) -> bytes:
        self._received, self._is_upgraded = b"", False
        resume = f"&resume={self._key}" if self._key else ""
        return _UPGRADE.format(key=KEY, format=self.format.name, resume=resume).encode()

    def feed(self, chunk: bytes) -> tuple[bytes, bool]:
        """What to send, and whether the session is open. Raises _Refused."""
        self._received += chunk
        if not self._is_upgraded and not self._switch():
            return b"", False
        found, self._received = payloads(self._received)
        answer = b""
        for message in map(self.format.read, found):
            if message.action == CONNECTED:
                self._connected(message)
                if not self.channel:
                    return b"", True
                answer = self.format.masked(self._attach())
            elif message.action == ATTACHED:
                self.flags, self._serial = message.flags, message.channelSerial
                return b"", True
            elif message.error is not None:
                raise _Refused(str(message.error))
        return answer, False

    def _switch(self) -> bool:
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return False
        if not head.startswith(_SWITCHED):
            raise _Refused(self._received.decode(errors="replace"))
        self._received, self._is_upgraded = rest, True
        return True

    def _connected(self, message: Received) -> None:
        assert message.connectionDetails is not None
        self.kept_id = message.connectionId == self.connection_id
        self.connection_id = message.connectionId
        self._key = message.connectionDetails.connectionKey

    def _attach(self) -> bytes:
        return self.format.encode(attach(self.channel, self._serial, self.params))


def attach(channel: str, serial: str, params: dict[str, str] | None) -> dict[str, object]:
    """An ATTACH. `serial`: of the last message that was seen there, if any was."""
    asked: dict[str, object] = {"action": ATTACH, "channel": channel}
    if serial:
        asked["channelSerial"] = serial
    return {**asked, "params": params} if params else asked


@dataclass
class Opened:
    """`after_s`: when each session was open, from the first connect. `refused`: attempts."""

    after_s: list[float] = field(default_factory=list)
    refused: int = 0


def open_sessions(
    port: int,
    sessions: Sequence[Session],
    *,
    at_once: int,
    context: ssl.SSLContext | None = None,
) -> Opened:
    """Open them all, `at_once` at a time. Raises Wrong when none has opened for long."""
    return _Opening(port, sessions, context).run(at_once)


class _Opening:
    def __init__(
        self, port: int, sessions: Sequence[Session], context: ssl.SSLContext | None
    ) -> None:
        self._port = port
        self._context = context
        self._waiting = deque((0.0, session) for session in sessions)  # not before this moment
        self._under_way: dict[int, Session] = {}
        self._epoll = select.epoll()
        self._opened = Opened()
        self._last_refusal = ""

    def run(self, at_once: int) -> Opened:
        began = progress = perf_counter()
        while self._waiting or self._under_way:
            self._connect_more(at_once)
            for descriptor, events in self._epoll.poll(_RETRY_S):
                if self._step(descriptor, events):
                    progress = perf_counter()
                    self._opened.after_s.append(progress - began)
            if perf_counter() - progress > TIMEOUT_S:
                missing = len(self._waiting) + len(self._under_way)
                raise Wrong(f"{missing} connections did not open: {self._last_refusal}")
        self._epoll.close()
        return self._opened

    def _connect_more(self, at_once: int) -> None:
        now = perf_counter()
        while self._waiting and len(self._under_way) < at_once and self._waiting[0][0] <= now:
            self._connect(self._waiting.popleft()[1])

    def _connect(self, session: Session) -> None:
        made = socket.socket()
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is None:
            made.setblocking(False)
            made.connect_ex((LOOPBACK, self._port))
        else:
            made.connect((LOOPBACK, self._port))
            made = self._context.wrap_socket(made)
            made.setblocking(False)
        session.socket = made
        self._under_way[made.fileno()] = session
        self._epoll.register(made.fileno(), select.EPOLLOUT)

    def _step(self, descriptor: int, events: int) -> bool:
        """True when that opened a session."""
        session = self._under_way[descriptor]
        assert session.socket is not None
        try:
            if events & select.EPOLLOUT:
                session.socket.sendall(session.upgrade())
                self._epoll.modify(descriptor, select.EPOLLIN)
                return False
            answer, is_open = session.feed(_receive(session.socket))
            if answer:
                session.socket.sendall(answer)
        except (_Refused, ConnectionError) as error:
            self._again(descriptor, session, str(error))
            return False
        if is_open:
            self._epoll.unregister(descriptor)
            del self._under_way[descriptor]
        return is_open

    def _again(self, descriptor: int, session: Session, reason: str) -> None:
        self._opened.refused += 1
        self._last_refusal = reason
        self._epoll.unregister(descriptor)
        del self._under_way[descriptor]
        assert session.socket is not None
        session.socket.close()
        self._waiting.append((perf_counter() + _RETRY_S, session))


def _receive(source: socket.socket) -> bytes:
    try:
        chunk = source.recv(_READ_BYTES)
    except ssl.SSLWantReadError:
        return b""
    if not chunk:
        raise ConnectionResetError("the server closed the connection")
    return chunk
