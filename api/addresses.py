"""Listening on an address, and saying why that cannot be."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from api.settings import ServerSettings


class CannotListen(OSError):
    """The address is taken, not ours, or not permitted."""


async def open_listeners(settings: ServerSettings) -> list[trio.SocketListener]:
    """Raises OSError as the system says."""
    return await trio.open_tcp_listeners(
        settings.port, host=settings.host, backlog=settings.backlog
    )


async def bound_sockets(settings: ServerSettings) -> list[socket.socket]:
    """As `open_listeners`, but nobody can connect before somebody listens."""
    found = await trio.socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in found:
            try:
                one = socket.socket(family, kind, protocol)
            except OSError as error:  # a system without IPv6
                if error.errno != errno.EAFNOSUPPORT or family == socket.AF_INET:
                    raise
                continue
            bound.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
    except OSError:
        for one in bound:
            one.close()
        raise
    return bound


@contextmanager
def named(host: str, port: int) -> Iterator[None]:
    """Raises CannotListen with the address for what the system says."""
    try:
        yield
    except OSError as error:
        raise CannotListen(f"cannot listen on {host} port {port}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    """What the system said, without the numbers that trio and asyncio put around it."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
