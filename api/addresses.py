"""Listening on an address, and saying why that cannot be."""

import os
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
