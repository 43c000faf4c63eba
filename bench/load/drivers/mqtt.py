"""MQTT 5 at QoS 1: at least once, each way.

gmqtt is the client because it costs a tenth of a processor of what the others do (all of them wrap
paho, which was not made to be fast), and the generator is not to be what is measured. It tells of
a PUBACK only by removing the message from what it would send again, so that storage is ours. It
never sends again: what is under way when the connection is lost is unknown.

A session could outlive its connection, and be resumed. But what was received and not acknowledged
yet comes a second time then, in quantity and by contract; so "resume", after which nothing is to be
missing or doubled, is not among the abilities.
"""

import asyncio
import logging
import os
from contextlib import AbstractAsyncContextManager
from itertools import count
from typing import Any, cast

from gmqtt import Client
from gmqtt.storage import PersistentStorage

from bench.load.driver import Ability, Address, Backend, Receive, Refused
from bench.load.drivers.answers import Answer, answer, asked, lose
from bench.load.drivers.opened import opened
from bench.load.drivers.unable import Unable

NAME = "mqtt"
_AT_LEAST_ONCE = 1
_IN_FLIGHT_MAX = 60_000  # packet ids have 16 bits, and subscriptions need some too
_RECEIVE_MAX = 65_535
_KEEPALIVE_S = 60_000  # nobody is to ping while a connection does not read
_RETRIES_NEVER = -2  # -1 is for ever, and 0 is once
_REFUSED_FROM = 0x80  # reason codes
_numbers = count(1)
_silent = logging.getLogger(__name__)
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


class Mqtt:
    name = NAME
    backend: Backend = "asyncio"
    promise = "in the broker's memory, at least once; written to disk every second, not before it"
    abilities: frozenset[Ability] = frozenset(("publish", "subscribe", "pause", "pipeline"))

    def __init__(self, address: Address) -> None:
        self._address = address

    def connect(self) -> AbstractAsyncContextManager["MqttConnection"]:
        return opened(MqttConnection(self._address))


class _Unanswered(PersistentStorage):  # type: ignore[misc]  # gmqtt has no types
    """What is not acknowledged, by packet id. To gmqtt it is always empty: it sends nothing again.
    newest: of what was published last."""

    def __init__(self) -> None:
        super().__init__()
        self.newest = asked()
        self._futures: dict[int, Answer] = {}

    def push_message(self, mid: int, raw_package: bytes) -> None:
        self.newest = self._futures[mid] = asked()

    def remove_message_by_mid(self, mid: int) -> None:
        if (future := self._futures.pop(mid, None)) is not None:
            answer(future)

    def lose(self) -> None:
        lose(self._futures.values())
        self._futures.clear()


class MqttConnection(Unable):
    def __init__(self, address: Address) -> None:
        self._address = address
        self._id = f"bench-{os.getpid()}-{next(_numbers)}"
        self._client: Any = None
        self._unanswered = _Unanswered()
        self._in_flight = asyncio.Semaphore(_IN_FLIGHT_MAX)
        self._subscribing: dict[int, Answer] = {}
        self._receivers: dict[str, Receive] = {}

    async def publish(self, channel: str, body: bytes) -> None:
        async with self._in_flight:
            if not self._client.is_connected:
                raise Refused("not connected")
            self._client.publish(channel, body, qos=_AT_LEAST_ONCE)
            await self._unanswered.newest

    async def subscribe(self, channel: str, receive: Receive) -> None:
        self._receivers[channel] = receive
        number = self._client.subscribe(channel, qos=_AT_LEAST_ONCE)
        future = self._subscribing[number] = asked()
        await future

    async def pause(self, is_paused: bool) -> None:
        if is_paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    async def open(self) -> None:
        client = self._client = Client(
            self._id,
            receive_maximum=_RECEIVE_MAX,
            persistent_storage=self._unanswered,
            logger=_silent,
        )
        client.set_config({"reconnect_retries": _RETRIES_NEVER})
        client.on_message = self._received
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._gone
        await client.connect(self._address.host, self._address.port, keepalive=_KEEPALIVE_S)

    async def aclose(self) -> None:
        if self._client is not None and self._client.is_connected:
            await self._client.disconnect()
        self._lost()

    @property
    def _transport(self) -> asyncio.Transport:
        """gmqtt has no way to stop reading."""
        return cast("asyncio.Transport", self._client._connection._transport)

    def _received(
        self, client: Client, topic: str, body: bytes, qos: int, properties: object
    ) -> None:
        self._receivers[topic](body)

    def _subscribed(
        self, client: Client, number: int, granted: tuple[int, ...], properties: object
    ) -> None:
        is_refused = max(granted) >= _REFUSED_FROM
        answer(self._subscribing.pop(number), Refused(str(granted)) if is_refused else None)

    def _gone(self, client: Client, packet: bytes) -> None:
        self._lost()

    def _lost(self) -> None:
        self._unanswered.lose()
        lose(self._subscribing.values())
        self._subscribing.clear()
