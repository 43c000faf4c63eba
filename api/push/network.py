"""Connections to gateways: to which address they go, and when one counts as broken.

Owns what is beneath httpx: a httpcore pool on a network backend of ours. The backend connects by
address, to one that the `Addresses` it was given allowed a moment before; TLS and Host still name
the host of the URL, and a connection is only shared by requests to the same scheme, host and port.
No proxy is used and none is read from the environment: it would resolve names for itself.

Fault model: an HTTP/2 connection can be up and dead, when a middlebox forgot it. All requests share
it, each would give up alone after its own deadline, and the next would take it again. So silence is
counted by connection: one that said nothing for as long as a request may last, while somebody
waited, fails everyone who waits and is not used again.

Refuses to retry: what a request came to is for the caller to say and for the outbox to act on.
"""

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import h2.exceptions
import httpcore
import httpx
import trio

Addresses = Callable[[str, int], Awaitable[list[str]]]
"""The addresses to try for a host and port. May raise OSError, or what its caller understands."""

WRITE_S = 2.0  # the system takes a few KiB at once, unless the peer has been deaf for long
KEPT_IDLE_S = 60.0  # less than what middleboxes forget after


class Backend(httpcore.AsyncNetworkBackend):
    """Connects by address. Each address has an equal share of the time."""

    def __init__(self, addresses: Addresses, silence_s: float) -> None:
        self._addresses = addresses
        self._silence_s = silence_s

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            with trio.fail_after(timeout or float("inf")):
                return await self._connect(host, port, timeout or float("inf"))
        except trio.TooSlowError:
            raise httpcore.ConnectTimeout("not connected in time") from None
        except OSError:
            raise httpcore.ConnectError("not connected") from None

    async def _connect(self, host: str, port: int, within_s: float) -> httpcore.AsyncNetworkStream:
        addresses = await self._addresses(host, port)
        for address in addresses:
            with trio.move_on_after(within_s / len(addresses)):
                try:
                    return Stream(await trio.open_tcp_stream(address, port), self._silence_s)
                except OSError:
                    continue
        raise OSError("no address answered")

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise httpcore.UnsupportedProtocol("gateways are not on Unix sockets")

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class Stream(httpcore.AsyncNetworkStream):
    """A trio stream that remembers for how long it has been silent, over all who read from it."""

    def __init__(self, stream: trio.abc.Stream, silence_s: float) -> None:
        self._stream = stream
        self._silence_s = silence_s
        self._awaited_since: float | None = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with trio.move_on_at(self._awaited() + self._silence_s):
            try:
                data = bytes(await self._stream.receive_some(max_bytes))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise httpcore.ReadError("the connection broke") from None
            self._awaited_since = None
            return data
        raise httpcore.ReadTimeout("the connection is silent")

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Whole, or the connection is broken: frames of others are in it, so whoever gives up
        meanwhile does not take them along."""
        if not buffer:
            return
        with trio.move_on_after(WRITE_S, shield=True):
            try:
                await self._stream.send_all(buffer)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise httpcore.WriteError("the connection broke") from None
            return
        raise httpcore.WriteTimeout("the peer takes nothing")

    def _awaited(self) -> float:
        if self._awaited_since is None:
            self._awaited_since = trio.current_time()
        return self._awaited_since

    async def aclose(self) -> None:
        """Without a farewell: one that waits for the other side could wait for ever."""
        await trio.aclose_forcefully(self._stream)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = trio.SSLStream(
            self._stream, ssl_context, server_hostname=server_hostname, https_compatible=True
        )
        try:
            with trio.fail_after(timeout or float("inf")):
                await stream.do_handshake()
        except BaseException as error:
            await trio.aclose_forcefully(self._stream)
            if isinstance(error, trio.TooSlowError):
                raise httpcore.ConnectTimeout("no TLS in time") from None
            if isinstance(error, trio.BrokenResourceError):
                raise httpcore.ConnectError("TLS failed") from None
            raise
        return Stream(stream, self._silence_s)

    def get_extra_info(self, info: str) -> Any:
        answer = getattr(self, f"_{info}", None)
        return answer() if answer else None

    def _ssl_object(self) -> Any:
        """httpcore asks it which protocol was agreed on."""
        is_tls = isinstance(self._stream, trio.SSLStream)
        return self._stream if is_tls else None

    def _is_readable(self) -> bool:
        """Of a connection at rest: whether it was closed, or said something uncalled for."""
        stream = self._stream
        while isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        assert isinstance(stream, trio.SocketStream)
        return bool(stream.socket.is_readable())


class Network(httpx.AsyncBaseTransport):
    """A pool of connections, as httpx wants it. Its errors are httpx's."""

    def __init__(
        self,
        backend: Backend,
        trust: ssl.SSLContext,
        *,
        connections_max: int,
        http1: bool = True,
    ) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=trust,
            max_connections=connections_max,
            keepalive_expiry=KEPT_IDLE_S,
            http1=http1,
            http2=True,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = httpcore.Request(
            request.method,
            httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=_Sent(await request.aread()),
            extensions=request.extensions,
        )
        try:
            with _as_httpx():
                reply = await self._pool.handle_async_request(asked)
        except httpx.LocalProtocolError:
            await self._discard(asked.url.origin)
            raise
        assert isinstance(reply.stream, AsyncIterable)
        body = _Body(reply.stream)
        return httpx.Response(reply.status, headers=reply.headers, stream=body)

    async def _discard(self, origin: httpcore.Origin) -> None:
        """What h2 refuses to do on a connection now, it refuses from now on: too many streams that
        were never answered."""
        for connection in self._pool.connections:
            if connection.can_handle_request(origin):
                await connection.aclose()

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Sent:
    """A request's body, as often as it is wanted: httpcore sends it again when a connection turned
    out to be closed to it. Not an async generator, for one that is given up half-way is left to
    the garbage collector, which complains."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Parts(self._content)


class _Parts(AsyncIterator[bytes]):
    def __init__(self, content: bytes) -> None:
        self._left = [content]

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: AsyncIterable[bytes]) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for part in self._stream:
                yield part

    async def aclose(self) -> None:
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Both libraries name their errors alike; httpx keeps its own mapping to itself. What httpcore
    lets through of a peer that breaks HTTP/2, or whose status is no number, is that peer's."""
    try:
        yield
    except (h2.exceptions.H2Error, ValueError):
        raise httpx.RemoteProtocolError("the peer broke HTTP") from None
    except Exception as error:
        known = getattr(httpx, type(error).__name__, None)
        if type(error).__module__.startswith("httpcore") and known is not None:
            raise known(str(error)) from None
        raise
