"""An HTTP/1.1 client that costs little: one kept connection, replies with a Content-Length.

A benchmark of a server must not be one of its client: this one takes a fraction of what httpx does.
"""

import re
from base64 import b64encode
from types import TracebackType

import trio

_READ_BYTES = 1 << 16
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_NEXT = re.compile(rb"\r\nlink: *<\./messages(\?[^>]*)>; *rel=\"next\"", re.IGNORECASE)


class Refused(Exception):
    """The reply has another status than was expected."""


class Client:
    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._authorization = b64encode(key.encode())
        self._stream: trio.SocketStream | None = None

    async def __aenter__(self) -> "Client":
        self._stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)

    async def post(self, path: str, body: bytes) -> bytes:
        """The body of a 201. Raises Refused."""
        length = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        _, answer = await self._ask(b"POST", path, length, body, b"201")
        return answer

    async def get(self, path: str) -> tuple[bytes, str | None]:
        """The body of a 200, and the query of the next page. Raises Refused."""
        head, answer = await self._ask(b"GET", path, b"", b"", b"200")
        following = _NEXT.search(head)
        return answer, following[1].decode() if following else None

    async def _ask(
        self, method: bytes, path: str, headers: bytes, body: bytes, status: bytes
    ) -> tuple[bytes, bytes]:
        assert self._stream is not None
        start = b"%b %b HTTP/1.1\r\nHost: 127.0.0.1\r\n" % (method, path.encode())
        credentials = b"Authorization: Basic %b\r\n" % self._authorization
        await self._stream.send_all(start + credentials + headers + b"\r\n" + body)
        head, answer = await self._reply()
        if head.split(b" ", 2)[1][:3] != status:
            raise Refused(f"{head.decode()}\n{answer.decode()}")
        return head, answer

    async def _reply(self) -> tuple[bytes, bytes]:
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += await self._more()
        head = received[:end]
        length = _LENGTH.search(head)
        assert length is not None
        parts = [received[end + 4 :]]
        missing = int(length[1]) - len(parts[0])
        while missing > 0:
            parts.append(await self._more())
            missing -= len(parts[-1])
        return head, b"".join(parts)

    async def _more(self) -> bytes:
        assert self._stream is not None
        received = await self._stream.receive_some(_READ_BYTES)
        if not received:
            raise Refused("the server closed the connection")
        return bytes(received)
