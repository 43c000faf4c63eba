"""Sessions without sockets: clients whose outbox is a list, over a real broker.

    me = await talk.connect(client_id="me")
    me.says(action=Action.ATTACH, channel="c")
    await me.hears(Action.ATTACHED, channel="c")

A client hears what its session sent, in order and nothing left out: answers (ACK, NACK) in their
order, the rest in its own, for a message may be delivered before or after it is acknowledged. It
waits for what comes when something is on disk. `stall` makes its outbox behave like one whose
socket is full: deliveries are dropped and their sources told, replies are kept.
"""

from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
import msgspec
import trio

from api.realtime.framing import Frame
from api.realtime.kept_syncs import KeptSyncs
from api.realtime.outbox import Source
from api.realtime.protocol import Action
from api.realtime.session import Options, Session
from api.realtime.wiring import Wiring
from broker import Broker
from broker.auth.credentials import Principal
from broker.live.connections import LiveConnection

ANSWERS = (Action.ACK, Action.NACK)
_ITEMS: dict[int, str] = {
    Action.MESSAGE: "messages",
    Action.PRESENCE: "presence",
    Action.ANNOTATION: "annotations",
}
STUCK_S = 30  # only ever passes when a test hangs
Message = dict[str, Any]


def unframed(data: bytes) -> Iterator[tuple[bool, bytes]]:
    """(binary, payload) of whole unmasked frames (RFC 6455 5.2)."""
    at = 0
    while at < len(data):
        assert data[at] in (0x81, 0x82), data[at : at + 20]
        size, start = data[at + 1], at + 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            size, start = int.from_bytes(data[start : start + wide]), start + wide
        payload = data[start : start + size]
        assert len(payload) == size
        yield data[at] == 0x82, payload
        at = start + size


def decoded(data: bytes) -> list[Message]:
    """The protocol messages in what a server sent."""
    coding = {True: msgspec.msgpack, False: msgspec.json}
    return [coding[binary].decode(payload) for binary, payload in unframed(data)]


class FakeOutbox:
    """What a session writes to. Everything else of an Outbox is the transport's."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.binaries: set[bool] = set()
        self.is_broken = False
        self.is_stalled = False
        self.queued_bytes = self.control_bytes = 0
        self.sent_at = trio.current_time()
        self._news = trio.lowlevel.ParkingLot()

    def send(self, data: bytes) -> None:
        self.binaries.update(binary for binary, _ in unframed(data))
        self.messages += decoded(data)
        self.sent_at = trio.current_time()
        self._news.unpark_all()

    def deliver(self, data: bytes, source: Source, position: int) -> None:
        if self.is_stalled:
            source.fall_behind(position)
        else:
            self.send(data)

    def stall(self) -> None:
        self.is_stalled = True

    def wake(self) -> None:
        self.is_stalled = False
        self._news.unpark_all()

    async def wait_below(self, size: int) -> None:
        await trio.lowlevel.checkpoint()
        while self.is_stalled and not self.is_broken:
            await self._news.park()

    async def news(self) -> None:
        await self._news.park()

    def abort(self) -> None:
        self.is_broken = True
        self._news.unpark_all()


@dataclass
class Client:
    session: Session
    outbox: FakeOutbox
    binary: bool
    serial: int = 0
    answers: deque[Message] = field(default_factory=deque)
    rest: deque[Message] = field(default_factory=deque)
    sorted: int = 0

    @property
    def held(self) -> LiveConnection:
        return self.session.wiring.held

    @property
    def id(self) -> str:
        return self.held.id

    def frame(self, message: Any) -> Frame:
        coding = msgspec.msgpack if self.binary else msgspec.json
        return Frame(self.binary, coding.encode(message))

    def says(self, action: int | None = None, **fields: Any) -> None:
        """One protocol message, alone in its read."""
        self.says_all({} if action is None else {"action": action, **fields})

    def says_all(self, *messages: Message) -> None:
        """Several, in one read of the socket."""
        self.session.receive([self.frame(message) for message in messages])

    def publishes(self, channel: str, *names: str, **fields: Any) -> int:
        """Each name in a MESSAGE of its own, in one read; returns the first msgSerial."""
        first = self.serial
        self.serial += len(names)
        self.says_all(
            *(
                {
                    "action": Action.MESSAGE,
                    "channel": channel,
                    "msgSerial": first + number,
                    "messages": [{"name": name, **fields}],
                }
                for number, name in enumerate(names)
            )
        )
        return first

    def changes(self, channel: str, serial: str, action: int, **fields: Any) -> int:
        """One update, delete or append; returns its msgSerial."""
        message = {"serial": serial, "action": action, **fields}
        return self._sends(Action.MESSAGE, channel, messages=[message])

    def annotates(self, channel: str, serial: str, *annotations: Message) -> int:
        """One ANNOTATION; returns its msgSerial."""
        named = [{"messageSerial": serial, **one} for one in annotations]
        return self._sends(Action.ANNOTATION, channel, annotations=named)

    def _sends(self, action: int, channel: str, **fields: Any) -> int:
        number, self.serial = self.serial, self.serial + 1
        self.says(action, channel=channel, msgSerial=number, **fields)
        return number

    def present(self, channel: str, action: int, client_id: str | None = None, **more: Any) -> int:
        """One PRESENCE; returns its msgSerial."""
        first, self.serial = self.serial, self.serial + 1
        who = {} if client_id is None else {"clientId": client_id}
        self.says(
            Action.PRESENCE,
            channel=channel,
            msgSerial=first,
            presence=[{"action": action, **who, **more}],
        )
        return first

    def _sort(self) -> None:
        for message in self.outbox.messages[self.sorted :]:
            (self.answers if message["action"] in ANSWERS else self.rest).append(message)
        self.sorted = len(self.outbox.messages)

    async def next(self, *, answer: bool = False) -> Message:
        queue = self.answers if answer else self.rest
        with trio.fail_after(STUCK_S):
            self._sort()
            while not queue:
                await self.outbox.news()
                self._sort()
        return queue.popleft()

    async def hears(self, action: int, **fields: Any) -> Message:
        """The next message but for heartbeats, which come when a test takes long; it must be this
        one. A field that is None must be absent."""
        message = await self.next(answer=action in ANSWERS)
        while message["action"] == Action.HEARTBEAT != action:
            message = await self.next()
        found = {name: message.get(name) for name in fields}
        assert (message["action"], found) == (action, fields), message
        return message

    async def hears_error(self, action: int, code: int, status: int, **fields: Any) -> Message:
        message = await self.hears(action, **fields)
        error = message["error"]
        assert (error["code"], error["statusCode"]) == (code, status), error
        assert error["message"]
        assert error["href"].endswith(f"/{code}")
        return message

    async def hears_names(self, channel: str, count: int) -> list[str]:
        """The names of messages, as many as that, in however many MESSAGEs they come."""
        return [item["name"] for item in await self.hears_items(channel, count)]

    async def hears_items(
        self, channel: str, count: int, action: int = Action.MESSAGE
    ) -> list[Message]:
        key = _ITEMS[action]
        items: list[Message] = []
        while len(items) < count:
            items += (await self.hears(action, channel=channel))[key]
        assert len(items) == count, items
        return items

    def hears_nothing_more(self) -> None:
        self._sort()
        rest = [message for message in self.rest if message["action"] != Action.HEARTBEAT]
        assert [*self.answers, *rest] == []

    async def attach(self, channel: str, **fields: Any) -> Message:
        self.says(Action.ATTACH, channel=channel, **fields)
        return await self.hears(Action.ATTACHED, channel=channel)

    def vanishes(self) -> None:
        """Its transport is gone."""
        self.session.lost()


@dataclass
class Talk:
    """A broker, and clients that speak to it."""

    broker: Broker
    tasks: trio.Nursery
    readers: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(2))
    syncs: KeptSyncs = field(default_factory=KeptSyncs)

    @property
    def app(self) -> str:
        return self.broker.default_app()

    def principal(self, client_id: str | None = None, token: str | None = None) -> Principal:
        if token is not None:
            return self.broker.authenticate(token=token)
        key = self.broker.apps.keys(self.app)[0]
        return self.broker.authenticate(key=key.string, client_id=client_id)

    def token(self, lifetime_s: int = 3_600, client_id: str = "me", **claims: str) -> str:
        """A JWT of the app's root key."""
        key = self.broker.apps.keys(self.app)[0]
        now_s = self.broker.clock() // 1000
        merged = {"iat": now_s, "exp": now_s + lifetime_s, "x-ably-clientId": client_id}
        merged |= {f"x-ably-{name}": value for name, value in claims.items()}
        return jwt.encode(merged, key.secret, "HS256", headers={"kid": key.name})

    async def connect(
        self,
        client_id: str | None = None,
        *,
        token: str | None = None,
        resume: str | None = None,
        binary: bool = False,
        echo: bool = True,
        idle_ms: int = 15_000,
        remain_ms: int | None = None,
    ) -> Client:
        """A client that heard CONNECTED."""
        principal, held = self.principal(client_id, token), None
        connections = self.broker.epoch.connections
        if resume is not None:
            held = await connections.resume(self.app, resume, principal.client_id)
        else:
            held = await connections.open(self.app, principal.client_id)
        outbox = FakeOutbox()
        wiring = Wiring(
            broker=self.broker,
            held=held,
            principal=principal,
            outbox=outbox,  # type: ignore[arg-type]
            tasks=self.tasks,
            readers=self.readers,
            syncs=self.syncs,
            binary=binary,
            echo=echo,
        )
        options = Options(idle_ms, 65_536, remain_ms)
        session = Session(wiring, options, scope=trio.CancelScope(), resumed=resume is not None)
        session.start()
        client = Client(session, outbox, binary)
        await client.hears(Action.CONNECTED, connectionId=held.id)
        return client

    async def settled(self) -> None:
        """Until everything that is on its way to the log was delivered."""
        await self.broker.channel("settled").publish()
        with trio.fail_after(STUCK_S):
            while len(self.broker.epoch.background):
                await trio.lowlevel.checkpoint()
            await self.broker.channel("settled").publish()
            while self.broker.epoch.hub.position < self.broker.log.position:
                await trio.lowlevel.checkpoint()


@asynccontextmanager
async def talking(broker: Broker) -> AsyncIterator[Talk]:
    async with trio.open_nursery() as tasks:
        yield Talk(broker, tasks)
        tasks.cancel_scope.cancel()
