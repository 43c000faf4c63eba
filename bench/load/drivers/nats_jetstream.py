"""NATS JetStream: one stream in a file, every channel a subject of it.

Publishes are requests whose replies come to one inbox. They are sent without message ids, so that a
publish that was cut off is unknown and is not sent again. A subscriber is a consumer of its own,
made by the server when it is asked for, that is pushed to and acknowledges nothing; it goes on
behind the last sequence it received. JetStream reads forwards only: the newest messages of a
channel are found by looking at wider and wider ends of the stream until enough are in one.
"""

from contextlib import AbstractAsyncContextManager
from itertools import count

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StorageType, StreamConfig
from nats.js.client import JetStreamContext

from bench.load.driver import Ability, Address, Backend, Receive, Refused
from bench.load.drivers import nats_client
from bench.load.drivers.answers import Answer, answer, asked, lose
from bench.load.drivers.opened import opened
from bench.load.drivers.unable import Unable

NAME = "nats-jetstream"
_STREAM = "bench"
_SUBJECTS = "bench."
_SYNCED = "fsynced"
_UNSYNCED = "in the page cache, fsynced within 2 minutes"
_WIDER = 4
_LOOKED_AT_S = 1.0  # then the server forgets who only looked


class NatsJetStream:
    """is_synced: the server syncs before it acknowledges."""

    backend: Backend = "asyncio"
    abilities: frozenset[Ability] = frozenset(
        ("publish", "subscribe", "history", "resume", "pause", "pipeline")
    )

    def __init__(self, name: str, address: Address, *, is_synced: bool) -> None:
        self.name = name
        self.promise = _SYNCED if is_synced else _UNSYNCED
        self._address = address

    def connect(self) -> AbstractAsyncContextManager["JetStreamConnection"]:
        return opened(JetStreamConnection(self._address))


class _Subscription:
    """last: what was received last, which says where it is in the stream."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.last: Msg | None = None

    async def received(self, message: Msg) -> None:
        self.last = message
        self._receive(message.data)

    @property
    def begins(self) -> ConsumerConfig:
        config = ConsumerConfig(ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.NEW)
        if self.last is not None:
            config.deliver_policy = DeliverPolicy.BY_START_SEQUENCE
            config.opt_start_seq = self.last.metadata.sequence.stream + 1
        return config


class JetStreamConnection(Unable):
    def __init__(self, address: Address) -> None:
        self._address = address
        self._connected: Client | None = None
        self._inbox = ""
        self._unanswered: dict[str, Answer] = {}
        self._numbers = count(1)
        self._subscriptions: dict[str, _Subscription] = {}

    async def publish(self, channel: str, body: bytes) -> None:
        number = str(next(self._numbers))
        future = self._unanswered[number] = asked()
        try:
            await self._client.publish(_SUBJECTS + channel, body, f"{self._inbox}.{number}")
        except Error as error:
            self._unanswered.pop(number, None)
            raise Refused(str(error)) from error
        await future

    async def subscribe(self, channel: str, receive: Receive) -> None:
        subscription = self._subscriptions[channel] = _Subscription(receive)
        await self._consume(channel, subscription)

    async def history(self, channel: str, limit: int) -> list[bytes]:
        context = self._context
        last = (await context.stream_info(_STREAM)).state.last_seq
        width = limit
        while True:
            first = max(1, last - width + 1)
            consumer = await context.add_consumer(_STREAM, _from(first, channel))
            held = consumer.num_pending or 0
            if held >= limit or first == 1:
                break
            width *= _WIDER
        if not held:
            return []
        pulled = await context.pull_subscribe_bind(
            consumer.name, _STREAM, pending_bytes_limit=0, pending_msgs_limit=0
        )
        found = await pulled.fetch(held, nats_client.FOR_EVER_S)
        await pulled.unsubscribe()
        return [message.data for message in found[: -limit - 1 : -1]]

    async def pause(self, is_paused: bool) -> None:
        nats_client.pause(self._client, is_paused)

    async def cut(self) -> None:
        await nats_client.cut(self._client)

    async def open(self) -> None:
        await self.resume()

    async def resume(self) -> None:
        client = self._connected = await nats_client.connected(self._address, self._lost)
        self._inbox = client.new_inbox()
        await client.subscribe(f"{self._inbox}.*", cb=self._answered)
        await self._make_stream()
        for channel, subscription in self._subscriptions.items():
            await self._consume(channel, subscription)

    @property
    def _client(self) -> Client:
        assert self._connected is not None
        return self._connected

    @property
    def _context(self) -> JetStreamContext:
        return self._client.jetstream(timeout=nats_client.FOR_EVER_S)

    async def aclose(self) -> None:
        if self._connected is not None:
            await self._connected.close()
        self._lost()

    async def _make_stream(self) -> None:
        """The same that others have asked for: that is no error."""
        config = StreamConfig(_STREAM, subjects=[f"{_SUBJECTS}>"], storage=StorageType.FILE)
        await self._context.add_stream(config)

    async def _consume(self, channel: str, subscription: _Subscription) -> None:
        """First the inbox, then the consumer that pushes to it."""
        inbox = self._client.new_inbox()
        await nats_client.subscribe(self._client, inbox, subscription.received)
        config = subscription.begins
        config.deliver_subject = inbox
        config.filter_subject = _SUBJECTS + channel
        await self._context.add_consumer(_STREAM, config)

    async def _answered(self, message: Msg) -> None:
        future = self._unanswered.pop(nats_client.number_of(message), None)
        if future is not None:
            answer(future, _refusal(message.data))

    def _lost(self) -> None:
        lose(self._unanswered.values())
        self._unanswered.clear()


def _from(first: int, channel: str) -> ConsumerConfig:
    """A look at the stream, from a sequence on."""
    return ConsumerConfig(
        ack_policy=AckPolicy.NONE,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=first,
        filter_subject=_SUBJECTS + channel,
        inactive_threshold=_LOOKED_AT_S,
        mem_storage=True,
    )


def _refusal(reply: bytes) -> Refused | None:
    """A reply names stream and sequence, or an error."""
    return Refused(reply.decode(errors="replace")) if b'"error"' in reply else None
