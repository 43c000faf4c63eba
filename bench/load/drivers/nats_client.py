"""A client of nats-py that does not come back by itself, and that a driver can cut and hold up.

Nothing in nats-py's interface loses a connection without a goodbye, or stops reading: for both its
transport is taken hold of, here and nowhere else. Nor does it tell who waits for an answer that the
connection is lost, but by a callback when it has closed.

Its `flush` does not say that the server has read what was sent before: the PING goes straight to
the socket, and may overtake commands that wait in a buffer to be written together. An `Echo` does:
a message to an inbox of our own takes the way that all commands take.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, cast

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from bench.load.driver import Address, Unknown
from bench.load.drivers.answers import Answer, answer, asked, lose

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


class Echo:
    """Messages to ourselves: one that has come back followed all that was sent before it."""

    def __init__(self) -> None:
        self._client = Client()
        self._inbox = ""
        self._numbers = count(1)
        self._unanswered: dict[str, Answer] = {}

    async def open(self, client: Client) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        await subscribe(client, f"{self._inbox}.*", self._came)

    async def back(self) -> None:
        """Raises Unknown when the connection is lost."""
        number = str(next(self._numbers))
        future = self._unanswered[number] = asked()
        try:
            await self._client.publish(f"{self._inbox}.{number}")
        except Error as error:
            raise Unknown(str(error)) from error
        await future

    def lose(self) -> None:
        lose(self._unanswered.values())
        self._unanswered.clear()

    async def _came(self, message: Msg) -> None:
        answer(self._unanswered.pop(number_of(message)))


def number_of(message: Msg) -> str:
    """The last token of its subject."""
    return message.subject.rpartition(".")[2]


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
