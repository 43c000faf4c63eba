"""A TCP proxy on the way to the server: cuts connections, holds back replies, goes on.

`hold` keeps what the server sends from the clients while what they send still arrives: the server
does its work and no ACK is seen. `cut` resets every connection in both directions, and what was
held is lost with it. A client that comes while the proxy is closed, or the server down, is hung up
on at once.
"""

import asyncio
import contextlib
import socket
import struct
from types import TracebackType

READ_BYTES = 64 * 1024
RESET = struct.pack("ii", 1, 0)


class Proxy:
    def __init__(self, port: int) -> None:
        self._server_port = port
        self._passing = asyncio.Event()
        self._passing.set()
        self._open = True
        self._serving: asyncio.Server
        self._writers: set[asyncio.StreamWriter] = set()
        self._relays: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> "Proxy":
        self._serving = await asyncio.start_server(
            self._accept, "localhost", 0, family=socket.AF_INET
        )
        self.port = self._serving.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._serving.close()
        self.cut()
        if self._relays:
            await asyncio.wait(self._relays)

    def cut(self) -> None:
        """As a network would: no close frame, no FIN."""
        for writer in list(self._writers):
            connection = writer.get_extra_info("socket")
            if connection is not None:
                with contextlib.suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        for relay in self._relays:
            relay.cancel()

    def close(self) -> None:
        """Cut, and let nobody through until `open`."""
        self._open = False
        self.cut()

    def open(self) -> None:
        self._open = True

    def hold(self) -> None:
        self._passing.clear()

    def release(self) -> None:
        self._passing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._relays.add(task)
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                if self._open:
                    await self._relay(reader, writer)
        finally:
            self._relays.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(sock=await self._to_server())
        self._writers.add(up_writer)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, up_writer))
                group.create_task(_pump(up_reader, writer, self._passing))
        except* OSError:
            pass
        finally:
            self._writers.discard(up_writer)
            up_writer.close()

    async def _to_server(self) -> socket.socket:
        """With a small buffer, so that what is held soon fills the server's."""
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_BYTES)
        try:
            await asyncio.get_running_loop().sock_connect(
                connection, ("127.0.0.1", self._server_port)
            )
        except BaseException:
            connection.close()
            raise
        return connection


async def _pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    passing: asyncio.Event | None = None,
) -> None:
    """Until either side is gone, which closes the other."""
    try:
        while data := await reader.read(READ_BYTES):
            if passing is not None:
                await passing.wait()
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
