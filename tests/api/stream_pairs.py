"""Two ends of one connection, plain or with TLS on it."""

import socket
import ssl

import trio

from api import tls
from api.tls_stream import TlsStream

SOCKET_BUFFER_BYTES = 4096


async def streams() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Connected, with the smallest buffers, so that they are soon full."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        client = trio.socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
        await client.connect(listener.socket.getsockname())
        return await listener.accept(), trio.SocketStream(client)


def trusting(certificate: tls.DevCertificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate.ca_file))


async def secured(
    server: trio.SocketStream, client: trio.SocketStream, certificate: tls.DevCertificate
) -> tuple[TlsStream, trio.SSLStream[trio.SocketStream]]:
    context = tls.server_context(certificate.cert_file, certificate.key_file)
    return await shaken(server, client, context, trusting(certificate))


async def shaken(
    server: trio.SocketStream,
    client: trio.SocketStream,
    ours: ssl.SSLContext,
    theirs: ssl.SSLContext,
    session: ssl.SSLSession | None = None,
) -> tuple[TlsStream, trio.SSLStream[trio.SocketStream]]:
    ends = (
        TlsStream(server, ours),
        trio.SSLStream(client, theirs, server_hostname="localhost", https_compatible=True),
    )
    if session is not None:
        ends[1].session = session
    async with trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(end.do_handshake)
    return ends
