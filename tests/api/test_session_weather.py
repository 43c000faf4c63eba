"""Random weather over a few clients: they attach, publish, stall, vanish, come back, enter and
leave while messages stream in. Each keeps what an SDK keeps; in the end it must have every message
since it attached, once and in order, and the members that the broker has. What it published and was
not answered is sent again where it resumed, and is in the log once.

    TIDELOG_SEEDS=500 pytest tests/api/test_session_weather.py     # more of it
    TIDELOG_SEED=17 TIDELOG_SEEDS=1 pytest …                       # this one again
"""

import os
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
import trio

import broker
from api.realtime.protocol import RESUMED, Action
from broker import BrokerSettings, Message
from broker.channels.presence import PresenceAction, members
from broker.event import Kind
from broker.messages.serials import render
from storage import LogSettings, Span, Stream
from tests.api.conversation import STUCK_S, Client, Talk, talking
from tests.api.conversation import Message as Told

FIRST = int(os.environ.get("TIDELOG_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("TIDELOG_SEEDS", "15")))
STEPS = 150
CHANNELS = ["c", "d"]
Who = tuple[str, str]


@dataclass
class Seen:
    """What a client keeps of a channel. `since`: where it began without continuing anything."""

    since: str = ""
    last: str = ""
    serials: list[str] = field(default_factory=list)
    present: set[Who] = field(default_factory=set)
    is_attached: bool = False
    asked: deque[bool] = field(default_factory=deque)  # to continue, by each ATTACH


class Sailor:
    """A client over all its connections."""

    def __init__(self, name: str, talk: Talk, chance: Random) -> None:
        self.name = name
        self.talk = talk
        self.chance = chance
        self.client: Client | None = None
        self.key: str | None = None
        self.channels: dict[str, Seen] = {name: Seen() for name in CHANNELS}
        self.heard = 0
        self.spoken = 0
        self.pending: dict[int, tuple[str, str]] = {}
        self.acked: dict[str, str] = {}
        self.serial = 0

    async def come(self) -> None:
        """On the connection it had, or on a new one; its channels continue on either."""
        resume = self.key if self.chance.random() < 0.7 else None
        self.client = await self.talk.connect(
            self.name, resume=resume, binary=self.chance.random() < 0.5
        )
        self.heard = 1
        self.key = self.client.held.key
        for channel, seen in self.channels.items():
            if seen.is_attached:
                self.attach(channel)
        if resume is None:
            self.pending.clear()
            self.client.serial = 0
        else:
            self.client.serial = self.serial
            self.client.says_all(*(_published(n, *what) for n, what in self.pending.items()))

    def speak(self, channel: str) -> None:
        """A few messages, in one read."""
        assert self.client is not None
        spoken = []
        for _ in range(self.chance.choice([1, 1, 4])):
            number, self.client.serial = self.client.serial, self.client.serial + 1
            self.pending[number] = channel, f"{self.name}-{self.spoken}"
            spoken.append(_published(number, *self.pending[number]))
            self.spoken += 1
        self.client.says_all(*spoken)

    def attach(self, channel: str) -> None:
        assert self.client is not None
        seen = self.channels[channel]
        more = {"channelSerial": seen.last} if seen.last else {}
        seen.is_attached = True
        seen.asked.append(bool(more))
        self.client.says(Action.ATTACH, channel=channel, **more)

    def listen(self) -> None:
        """Take in what the session sent by now."""
        if self.client is not None:
            messages = self.client.outbox.messages
            for message in messages[self.heard :]:
                self.take(message)
            self.heard = len(messages)

    def take(self, message: Told) -> None:
        assert message["action"] not in (Action.ERROR, Action.NACK), message
        if message["action"] == Action.ACK:
            self.acknowledged(message)
        seen = self.channels.get(message.get("channel", ""))
        if seen is None:
            return
        match message["action"]:
            case Action.ATTACHED:
                assert bool(message["flags"] & RESUMED) == seen.asked.popleft(), message
                assert message.get("error") is None, message["error"]
                seen.since = seen.since or message["channelSerial"]
                seen.last = message["channelSerial"]
                if not message["flags"] & 1:
                    seen.present.clear()
            case Action.MESSAGE:
                seen.last = message["channelSerial"]
                seen.serials += [item["serial"] for item in message["messages"]]
            case Action.SYNC:
                seen.present = {_who(item) for item in message["presence"]}
            case Action.PRESENCE:
                for item in message["presence"]:
                    left = item["action"] == PresenceAction.LEAVE
                    (seen.present.discard if left else seen.present.add)(_who(item))
            case Action.DETACHED:
                self.channels[message["channel"]] = Seen()

    def acknowledged(self, message: Told) -> None:
        for number, result in enumerate(message["res"], message["msgSerial"]):
            if result["serials"] and (what := self.pending.pop(number, None)):
                self.acked[what[1]] = result["serials"][0]

    def vanish(self) -> None:
        """Perhaps before it has read all that was sent."""
        assert self.client is not None
        if self.chance.random() < 0.5:
            self.listen()
        self.client.vanishes()
        self.serial, self.client = self.client.serial, None
        for seen in self.channels.values():
            seen.asked.clear()


def _published(number: int, channel: str, name: str) -> Told:
    messages = [{"name": name}]
    return {
        "action": Action.MESSAGE, "channel": channel, "msgSerial": number, "messages": messages
    }  # fmt: skip


def _who(item: Told) -> Who:
    return item["connectionId"], item["clientId"]


class Weather:
    def __init__(self, seed: int, talk: Talk) -> None:
        self.chance = Random(seed)
        self.talk = talk
        self.sailors = [Sailor(f"s{n}", talk, self.chance) for n in range(4)]
        self.ends: dict[str, str | None] = {}
        self.done: list[str] = []

    def someone(self, *, connected: bool = True) -> Sailor | None:
        found = [s for s in self.sailors if (s.client is not None) == connected]
        return self.chance.choice(found) if found else None

    async def publish(self) -> None:
        channel = self.chance.choice(CHANNELS)
        extras = {"ephemeral": True} if self.chance.random() < 0.2 else None
        messages = [Message(extras=extras) for _ in range(self.chance.choice([1, 1, 5]))]
        await self.talk.broker.channel(channel).publish_all(messages)

    async def speak(self) -> None:
        if sailor := self.someone():
            sailor.speak(self.chance.choice(CHANNELS))

    async def arrive(self) -> None:
        if sailor := self.someone(connected=False):
            await sailor.come()

    async def vanish(self) -> None:
        if sailor := self.someone():
            sailor.vanish()

    async def listen(self) -> None:
        if sailor := self.someone():
            sailor.listen()

    async def stall(self) -> None:
        if (sailor := self.someone()) and sailor.client:
            sailor.client.outbox.stall()

    async def wake(self) -> None:
        if (sailor := self.someone()) and sailor.client:
            sailor.client.outbox.wake()

    async def attach(self) -> None:
        if sailor := self.someone():
            sailor.attach(self.chance.choice(CHANNELS))

    async def detach(self) -> None:
        if (sailor := self.someone()) and sailor.client:
            channel = self.chance.choice(CHANNELS)
            if sailor.channels[channel].is_attached:
                sailor.client.says(Action.DETACH, channel=channel)
                sailor.listen()

    async def be_present(self) -> None:
        if (sailor := self.someone()) and sailor.client:
            channel = self.chance.choice(CHANNELS)
            if sailor.channels[channel].is_attached:
                action = self.chance.choice(list(PresenceAction)[2:])
                sailor.client.present(channel, action)

    async def take_turns(self) -> None:
        for _ in range(self.chance.randint(1, 10)):
            await trio.lowlevel.checkpoint()

    async def blow(self) -> None:
        steps: dict[Callable[[], Awaitable[None]], int] = {
            self.publish: 5, self.speak: 6, self.arrive: 5, self.vanish: 2, self.listen: 3,
            self.stall: 2, self.wake: 3, self.attach: 4, self.detach: 1, self.be_present: 4,
            self.take_turns: 4,
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
            for channel in CHANNELS:
                if not sailor.channels[channel].is_attached:
                    sailor.attach(channel)
        await self.talk.settled()
        for channel in CHANNELS:
            ended = await self.talk.broker.channel(channel).publish_all([Message(name="end")])
            self.ends[channel] = ended.serials[0]
        await self.talk.settled()
        with trio.fail_after(STUCK_S):
            while not all(self.is_up_to_date(sailor) for sailor in self.sailors):
                await trio.lowlevel.checkpoint()

    def is_up_to_date(self, sailor: Sailor) -> bool:
        sailor.listen()
        return all(
            seen.serials[-1:] == [self.ends[channel]] for channel, seen in sailor.channels.items()
        )

    async def published(self, channel: str) -> dict[str, str | None]:
        """Everything in the log of a channel: serial -> name."""
        streams = (Stream(self.talk.app, channel, k) for k in (Kind.MESSAGES, Kind.EPHEMERAL))
        b = self.talk.broker
        page = await b.log.read_merged(dict.fromkeys(streams, Span()), limit=10_000)
        assert not page.more
        return {render(r.serial, b.series): r.event.message.name for r in page.records}

    async def check(self) -> None:
        found = {channel: await self.published(channel) for channel in CHANNELS}
        for channel, published in found.items():
            with self.talk.broker.rows() as rows:
                there = {
                    (m.presence.connection_id, m.presence.client_id)
                    for _, m in members(rows, self.talk.app, channel)
                }
            for sailor in self.sailors:
                seen = sailor.channels[channel]
                expected = [serial for serial in published if serial > seen.since]
                assert seen.serials == expected, f"{sailor.name} on {channel}"
                assert seen.present == there, f"{sailor.name} on {channel}"
        for sailor in self.sailors:
            assert sailor.pending == {}
            self.check_spoken(sailor, found)

    def check_spoken(self, sailor: Sailor, found: dict[str, dict[str, str | None]]) -> None:
        """In the log once, in order, and where it was acknowledged to be."""
        places = {
            serial: name for published in found.values() for serial, name in published.items()
        }
        for name, serial in sailor.acked.items():
            assert places[serial] == name
        for published in found.values():
            mine = [n for n in published.values() if n and n.startswith(f"{sailor.name}-")]
            numbers = [int(name.partition("-")[2]) for name in mine]
            assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("seed", SEEDS)
async def test_in_any_weather(tmp_path: Path, seed: int) -> None:
    print(f"TIDELOG_SEED={seed} TIDELOG_SEEDS=1 pytest tests/api/test_session_weather.py")
    log = LogSettings(tail_records_max=[3, 20_000][seed % 2], read_records_max=10_000)
    async with (
        broker.open(tmp_path / "data", settings=BrokerSettings(log=log)) as b,
        talking(b) as t,
    ):
        weather = Weather(seed, t)
        try:
            await weather.blow()
            await weather.calm_down()
            await weather.check()
        finally:
            print(" ".join(weather.done))
