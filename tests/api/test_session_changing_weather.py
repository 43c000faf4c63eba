"""Random weather over clients of messages that change: they publish, update, append and annotate,
stall, vanish half-way through what they were sent, resume and come back anew. Some want deltas, a
filter, no echo, each annotation, or several of it.

Each keeps what an SDK keeps. Every text that it comes to must be the true one of that version, so
no fragment is applied twice or without the rest; in the end it has every message since it attached
as it stands, and what the annotations come to. What was not answered is sent again where the
connection was resumed, and happened once.

    TIDELOG_SEEDS=500 pytest tests/api/test_session_changing_weather.py     # more of it
    TIDELOG_SEED=17 TIDELOG_SEEDS=1 pytest …                                # this one again
"""

import os
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
import trio

import broker
from api.realtime.protocol import RESUMED, Action
from broker import BrokerSettings
from broker.channels.modes import DEFAULT, Mode
from broker.event import Kind
from broker.events import MessageAnnotated, MessageAppended, MessagePublished
from broker.interactions.state import APPEND, DELETE, UPDATE
from broker.live import follower, given
from broker.messages.serials import render
from storage import LogSettings, Span, Stream
from tests.api.conversation import STUCK_S, Client, Talk, talking
from tests.api.conversation import Message as Told
from tests.api.test_session_deltas import Decoder
from tests.broker.interactions.editing import CHANNEL, Editing

FIRST = int(os.environ.get("TIDELOG_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("TIDELOG_SEEDS", "20")))
STEPS = 200
SUMMARY = 4
ACK = Action.ACK
WANTED = f'[filter=name == `"a"`]{CHANNEL}'
ANNOTATIONS = DEFAULT | Mode.ANNOTATION_SUBSCRIBE


class Manner(NamedTuple):
    """How a client attaches."""

    name: str = CHANNEL
    delta: bool = False
    echo: bool = True
    flags: int = DEFAULT

    @property
    def sees_all(self) -> bool:
        return self.name == CHANNEL and self.echo


MANNERS = [
    Manner(),
    Manner(delta=True),
    Manner(echo=False),
    Manner(name=WANTED),
    Manner(flags=ANNOTATIONS),
    Manner(name=WANTED, delta=True, echo=False, flags=ANNOTATIONS),
]


@dataclass
class Truth:
    """What the log holds: the text and name of each version, who made the last one."""

    texts: defaultdict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    latest: dict[str, tuple[str, str | None, str | None]] = field(default_factory=dict)
    annotated: dict[str, str] = field(default_factory=dict)
    annotations: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)


class Sailor:
    """A client over all its connections."""

    def __init__(self, number: int, talk: Talk, chance: Random, pool: list[str]) -> None:
        self.id = f"s{number}"
        self.manner = MANNERS[number]
        self.talk = talk
        self.chance = chance
        self.pool = pool
        self.client: Client | None = None
        self.key: str | None = None
        self.connections: set[str] = set()
        self.heard = self.spoken = self.serial = 0
        self.pending: dict[int, Told] = {}
        self.since = self.last = ""
        self.decoder = Decoder()
        self.asked: deque[bool] = deque()
        self.texts: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self.steps: list[tuple[str, str, str]] = []
        self.sums: dict[str, Any] = {}
        self.annotations: list[str] = []

    async def come(self) -> None:
        resume = self.key if self.chance.random() < 0.7 else None
        self.client = await self.talk.connect(
            self.id, resume=resume, binary=self.chance.random() < 0.5, echo=self.manner.echo
        )
        self.connections.add(self.client.id)
        self.heard, self.key = 1, self.client.held.key
        self.attach()
        if resume is None:
            self.pending.clear()
            self.client.serial = 0
        else:
            self.client.serial = self.serial
            self.client.says_all(*self.pending.values())

    def attach(self) -> None:
        assert self.client is not None
        more: dict[str, Any] = {"channelSerial": self.last} if self.last else {}
        if self.manner.delta:
            more["params"] = {"delta": "vcdiff"}
        self.asked.append(bool(self.last))
        self.client.says(Action.ATTACH, channel=self.manner.name, flags=self.manner.flags, **more)

    def attach_again(self) -> None:
        """With deltas: as if it could not decode one."""
        if not (self.manner.delta and self.asked):
            self.attach()

    def says(self, action: int, **fields: Any) -> None:
        """Something that wants an answer."""
        assert self.client is not None
        number, self.client.serial = self.client.serial, self.client.serial + 1
        self.pending[number] = {
            "action": action, "channel": CHANNEL, "msgSerial": number, **fields
        }  # fmt: skip
        self.client.says_all(self.pending[number])

    def token(self) -> str:
        self.spoken += 1
        return f"<{self.id}-{self.spoken}>"

    def publish(self) -> None:
        name = self.chance.choice("aab")
        self.says(Action.MESSAGE, messages=[{"name": name, "data": self.token()}])

    def change(self) -> None:
        if not self.pool:
            return
        serial = self.chance.choice(self.pool[-4:])
        action = self.chance.choice([APPEND] * 6 + [UPDATE, DELETE])
        named = {"name": self.chance.choice("ab")} if self.chance.random() < 0.15 else {}
        message = {"serial": serial, "action": action, "data": self.token(), **named}
        self.says(Action.MESSAGE, messages=[message])

    def annotate(self) -> None:
        if not self.pool:
            return
        one = {
            "messageSerial": self.chance.choice(self.pool[-4:]),
            "type": self.chance.choice(["t:distinct.v1", "t:total.v1", "comment"]),
            "action": self.chance.choice([0, 0, 1]),
            "name": self.chance.choice("xy"),
        }
        self.says(Action.ANNOTATION, annotations=[one])

    def listen(self, part: float = 1) -> None:
        """Take in what the session sent by now, or the first of it."""
        if self.client is not None:
            news = self.client.outbox.messages[self.heard :]
            news = news[: round(len(news) * part)]
            self.heard += len(news)
            for message in news:
                self.take(message)

    def take(self, message: Told) -> None:
        assert message["action"] not in (Action.ERROR, Action.NACK), message
        if self.manner.delta and self.asked and message["action"] not in (ACK, Action.ATTACHED):
            return  # it begins anew, as one that could not decode a delta (RTL18)
        match message["action"]:
            case Action.ACK:
                for number, result in enumerate(message["res"], message["msgSerial"]):
                    sent = self.pending.pop(number, None)
                    if sent and "serial" not in sent.get("messages", [{"serial": ""}])[0]:
                        self.pool.append(result["serials"][0])
            case Action.ATTACHED:
                assert bool(message["flags"] & RESUMED) == self.asked.popleft(), message
                assert message.get("error") is None, message["error"]
                self.since = self.since or message["channelSerial"]
                self.last = message["channelSerial"]
                self.decoder = Decoder()
            case Action.MESSAGE:
                for item in message["messages"]:
                    self.apply(item)
                self.last = message["channelSerial"]
            case Action.ANNOTATION:
                self.annotations += [item["serial"] for item in message["annotations"]]
                self.last = message["channelSerial"]

    def apply(self, item: Told) -> None:
        of, (data, _) = item["serial"], self.decoder.take(item)
        if "annotations" in item:
            self.sums[of] = item["annotations"]["summary"]
        if item["action"] == SUMMARY:
            return
        self.texts[of] = self.texts[of] + data if item["action"] == APPEND else data
        self.versions[of] = item["version"]["serial"]
        self.steps.append((of, self.versions[of], self.texts[of]))

    def vanish(self) -> None:
        """Perhaps before it has read all that was sent."""
        assert self.client is not None
        self.listen(self.chance.choice([0, 0.5, 1, self.chance.random()]))
        self.client.vanishes()
        self.serial, self.client = self.client.serial, None
        self.asked.clear()

    def check(self, truth: Truth, sums: dict[str, Any]) -> None:
        for of, version, text in self.steps:
            assert text == truth.texts[of][version], (self.id, of, version)
        for of, (version, name, by) in truth.latest.items():
            is_told = version > self.since and (self.manner.name == CHANNEL or name == "a")
            if is_told and (self.manner.echo or by not in self.connections):
                assert self.versions.get(of) == version, (self.id, of)
        for of, serial in truth.annotated.items():
            if self.manner.name == CHANNEL and serial > self.since:
                assert self.sums.get(of, {}) == sums[of], (self.id, of)
        if self.manner == MANNERS[4]:
            assert self.annotations == [one for one in truth.annotations if one > self.since]
        assert len(self.annotations) == len(set(self.annotations))


class Weather:
    def __init__(self, seed: int, talk: Talk) -> None:
        self.chance = Random(seed)
        self.talk = talk
        self.editing = Editing(talk.broker)
        self.pool: list[str] = []
        self.sailors = [
            Sailor(number, talk, self.chance, self.pool) for number in range(len(MANNERS))
        ]
        self.done: list[str] = []

    def someone(self, *, connected: bool = True) -> Sailor | None:
        found = [s for s in self.sailors if (s.client is not None) == connected]
        return self.chance.choice(found) if found else None

    async def arrive(self) -> None:
        if sailor := self.someone(connected=False):
            await sailor.come()

    def each(self, do: Callable[[Sailor], None]) -> Callable[[], Awaitable[None]]:
        async def step() -> None:
            if sailor := self.someone():
                do(sailor)

        step.__name__ = getattr(do, "__name__", "do")
        return step

    async def stall(self) -> None:
        if (sailor := self.someone()) and sailor.client:
            sailor.client.outbox.stall()

    async def wake(self) -> None:
        if (sailor := self.someone()) and sailor.client:
            sailor.client.outbox.wake()

    async def from_outside(self) -> None:
        """Over REST, several at once: they share commits."""
        if self.pool:
            serial = self.chance.choice(self.pool[-4:])
            async with trio.open_nursery() as nursery:
                for number in range(self.chance.choice([1, 3])):
                    nursery.start_soon(self.editing.append, serial, f"({len(self.done)}-{number})")

    async def take_turns(self) -> None:
        for _ in range(self.chance.randint(1, 10)):
            await trio.lowlevel.checkpoint()

    async def blow(self) -> None:
        steps: dict[Callable[[], Awaitable[None]], int] = {
            self.each(Sailor.publish): 3, self.each(Sailor.change): 12,
            self.each(Sailor.annotate): 5, self.arrive: 8, self.each(Sailor.vanish): 2,
            self.each(Sailor.listen): 4, self.each(Sailor.attach_again): 1, self.stall: 2,
            self.wake: 3, self.from_outside: 4, self.take_turns: 5,
        }  # fmt: skip
        for step in self.chance.choices(list(steps), list(steps.values()), k=STEPS):
            self.done.append(step.__name__)
            await step()

    async def calm_down(self) -> None:
        """Everybody is there, reads on, and has read everything."""
        for sailor in self.sailors:
            if sailor.client is None:
                await sailor.come()
            assert sailor.client is not None
            sailor.client.outbox.wake()
        await self.talk.settled()
        await self.talk.settled()
        end = await self.editing.publish("end", name="a")
        with trio.fail_after(STUCK_S):
            while not all(self.is_up_to_date(sailor, end) for sailor in self.sailors):
                await trio.lowlevel.checkpoint()

    def is_up_to_date(self, sailor: Sailor, end: str) -> bool:
        sailor.listen()
        return end in sailor.texts

    async def truth(self) -> Truth:
        b, found = self.talk.broker, Truth()
        kinds = (Kind.MESSAGES, Kind.VERSIONS, Kind.ANNOTATIONS)
        spans = {Stream(self.talk.app, CHANNEL, kind): Span() for kind in kinds}
        page = await b.log.read_merged(spans, limit=100_000)
        assert not page.more
        for record in page.records:
            event, serial = record.event, render(record.serial, b.series)
            if isinstance(event, MessagePublished):
                found.texts[serial][serial] = event.message.data
                by = event.message.connection_id
                found.latest[serial] = serial, event.message.name, by
                found.tokens.append(event.message.data)
                continue
            of = render(event.of, b.series)
            if isinstance(event, MessageAnnotated):
                found.annotations.append(serial)
                if event.annotation.type != "comment":
                    found.annotated[of] = serial
                continue
            is_append = isinstance(event, MessageAppended)
            message = event.fragment if is_append else event.message
            before = found.texts[of][found.latest[of][0]] if is_append else ""
            found.texts[of][serial] = before + message.data
            found.latest[of] = serial, message.name, event.sent[0] if event.sent else None
            found.tokens.append(message.data)
        return found

    async def check(self) -> None:
        truth = await self.truth()
        assert len(truth.tokens) == len(set(truth.tokens))
        sums = {of: (await self.editing.get(of)).summary for of in truth.annotated}
        for of, (version, name, _) in truth.latest.items():
            stored = await self.editing.get(of)
            assert (stored.data, stored.name) == (truth.texts[of][version], name)
        for sailor in self.sailors:
            assert sailor.pending == {}
            sailor.check(truth, sums)


@pytest.mark.parametrize("seed", SEEDS)
async def test_in_any_weather(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    print(f"TIDELOG_SEED={seed} TIDELOG_SEEDS=1 pytest tests/api/test_session_changing_weather.py")
    chance = Random(seed)
    monkeypatch.setattr(follower, "PAGE_RECORDS", chance.choice([1, 3, 200]))
    monkeypatch.setattr(given, "REMEMBERED_MAX", chance.choice([1, 2, 100]))
    log = LogSettings(tail_records_max=[3, 20_000][seed % 2], read_records_max=100_000)
    async with (
        broker.open(tmp_path / "data", settings=BrokerSettings(log=log)) as b,
        talking(b) as t,
    ):
        await Editing(b).prepare()
        weather = Weather(seed, t)
        try:
            await weather.blow()
            await weather.calm_down()
            await weather.check()
        finally:
            print(" ".join(weather.done))
