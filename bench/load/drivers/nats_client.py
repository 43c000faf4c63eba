"""A client of nats-py that does not come back by itself, and that a driver can cut and hold up.

Nothing in nats-py's interface loses a connection without a goodbye, or stops reading: for both its
transport is taken hold of, here and nowhere else. Nor does it tell who waits for an answer that the
connection is lost, but by a callback when it has closed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.load.driver import Address

FOR_EVER_S = 10**8
_BUFFER_BYTES = 1 << 20


async def connected(address: Address, lost: Callable[[], None]) -> Client:
    """lost: called once, when the connection is gone, whoever ended it."""

    async def closed() -> None:
        lost()

    async def failed(error: Exception) -> None:
        """It is told of in `closed`, or is in the reply to what failed."""

    return await nats.connect(
        f"nats://{address.host}:{address.port}",
        allow_reconnect=False,
        closed_cb=closed,
        error_cb=failed,
        pending_size=_BUFFER_BYTES,
        ping_interval=FOR_EVER_S,
    )


async def subscribe(
    client: Client, subject: str, received: Callable[[Msg], Awaitable[None]]
) -> None:
    """Without limits: nats-py drops what is above them, and a subscriber that lags is the broker's
    to drop."""
    await client.subscribe(subject, cb=received, pending_msgs_limit=0, pending_bytes_limit=0)


async def cut(client: Client) -> None:
    _transport(client).abort()
    await client.close()


def pause(client: Client, is_paused: bool) -> None:
    transport = _transport(client)
    if is_paused:
        transport.pause_reading()
    else:
        transport.resume_reading()


def _transport(client: Client) -> asyncio.Transport:
    writer = cast("Any", client)._transport._io_writer
    return cast("asyncio.Transport", writer.transport)
