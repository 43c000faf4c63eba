"""The other side of an HTTP/2 connection, frame by frame as a test wants it, over TLS on loopback.

A `Peer` hands each whole request to a function, which answers on its connection when it likes.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import trio
from h2.settings import SettingCodes

from tests.api.push.authority import Authority

Settings = Mapping[SettingCodes, int]


@dataclass
class Asked:
    """A request, whole. `on`: the connection that it came on."""

    on: "Peer"
    stream: int
    headers: dict[str, str]
    body: bytes = b""

    async def answer(self, status: int = 200, body: bytes = b"", *, is_over: bool = True) -> None:
        self.on.h2.send_headers(self.stream, [(":status", str(status))], end_stream=False)
        self.on.h2.send_data(self.stream, body, end_stream=is_over)
        await self.on.flush()

    async def reset(self) -> None:
        self.on.h2.reset_stream(self.stream, 2)
        await self.on.flush()


Handle = Callable[[Asked], Awaitable[None]]


class Peer:
    """resets: streams that the client gave up."""

    def __init__(self, stream: trio.abc.Stream, handle: Handle, settings: Settings) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        values = {SettingCodes.MAX_CONCURRENT_STREAMS: 100, **settings}
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=values)
        self.resets: list[int] = []
        self.has_left = False
        self.is_over = trio.Event()
        self.is_greedy = True  # gives the windows back as they are used
        self._stream = stream
        self._handle = handle
        self._turn = trio.Lock()
        self._asked: dict[int, Asked] = {}

    async def run(self) -> None:
        self.h2.initiate_connection()
        await self.flush()
        async with trio.open_nursery() as nursery:
            while data := await self._stream.receive_some():
                if self.has_left:
                    continue
                for event in self.h2.receive_data(bytes(data)):
                    self._happened(event, nursery)
                await self.flush()
            nursery.cancel_scope.cancel()

    def _happened(self, event: Any, nursery: trio.Nursery) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._asked[event.stream_id] = Asked(self, event.stream_id, dict(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            self._asked[event.stream_id].body += event.data
            if self.is_greedy and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.resets.append(event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            nursery.start_soon(self._handle, self._asked[event.stream_id])

    async def leave(self, last_seen: int) -> None:
        """Says that it handled nothing behind this stream, and takes nothing more."""
        self.has_left = True
        self.h2.close_connection(last_stream_id=last_seen)
        await self.flush()

    async def flush(self) -> None:
        async with self._turn:
            await self._stream.send_all(self.h2.data_to_send())

    async def hang_up(self) -> None:
        await trio.aclose_forcefully(self._stream)


@dataclass
class Peers:
    """opened: every connection there was."""

    url: str = ""
    opened: list[Peer] = field(default_factory=list)


@asynccontextmanager
async def peering(
    trusted: Authority | None, handle: Handle, settings: Settings | None = None
) -> AsyncIterator[Peers]:
    """`trusted`: None speaks without TLS."""
    peers = Peers()

    async def serve(raw: trio.SocketStream) -> None:
        stream: trio.abc.Stream = raw
        if trusted is not None:
            context = trusted.server_context("h2")
            stream = trio.SSLStream(raw, context, server_side=True, https_compatible=True)
        peer = Peer(stream, handle, settings or {})
        peers.opened.append(peer)
        try:
            await peer.run()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except ExceptionGroup as group:
            _, others = group.split((trio.BrokenResourceError, trio.ClosedResourceError))
            if others:
                raise others from None
        finally:
            peer.is_over.set()
            await trio.aclose_forcefully(raw)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        peers.url = f"{'http' if trusted is None else 'https'}://127.0.0.1:{port}"
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield peers
        nursery.cancel_scope.cancel()
