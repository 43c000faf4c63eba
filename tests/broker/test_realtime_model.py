"""Random histories of what connections do, against a model of plain dicts.

A history is a few dozen steps: publishes and presence (fresh, repeated, keyed), attachments,
connections that open, resume, vanish, close and expire, channels that close, trims, sweeps with
tiny retention, restarts, rebuilds. After it every projection must hold what the model holds, live,
rebuilt and reopened, and verify must find nothing.

    TIDELOG_SEEDS=1000 pytest tests/broker/test_realtime_model.py    # more histories
    TIDELOG_SEED=17 TIDELOG_SEEDS=1 pytest …                         # this one again
"""

import os
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import trio

from broker import BadRequest
from broker.administration import CreateApp
from broker.channels import lifecycle, occupancy, presence
from broker.channels.modes import ALL, DEFAULT, Mode
from broker.channels.presence import Change, ChangePresence, LeaveMembers, PresenceAction
from broker.channels.registry import channels
from broker.domain import PROJECTIONS, broker_domain
from broker.event import Kind
from broker.events import MemberLeft
from broker.live.connection_log import (
    CloseConnection,
    ExpireConnection,
    LoseConnection,
    OpenConnection,
    ResumeConnection,
    StartBroker,
    connections,
    latest_epoch,
)
from broker.live.idle_channels import CloseChannel
from broker.messages.acceptance import TABLE as ACCEPTED
from broker.messages.acceptance import accepted
from broker.messages.message import Message, PresenceMessage
from broker.messages.publish import Checked
from broker.messages.publishing import Origin, Publish, as_command
from storage import Cut, Log, LogSettings, Outcome, Retention, Span, Stream, open_log
from storage.verify import verify
from tests.broker.conftest import FakeClock
from tests.broker.realtime_model import Held, Model

FIRST = int(os.environ.get("TIDELOG_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("TIDELOG_SEEDS", "25")))
STEPS = 80
HISTORY_S = 60
APP = "app"
CHANNELS = ["c", "d", "presence:e"]
CLIENTS = ["me", "you", "they"]
COUNTED = {
    Mode.PUBLISH: "publishers",
    Mode.SUBSCRIBE: "subscribers",
    Mode.PRESENCE: "presence_connections",
    Mode.PRESENCE_SUBSCRIBE: "presence_subscribers",
    Mode.OBJECT_PUBLISH: "object_publishers",
    Mode.OBJECT_SUBSCRIBE: "object_subscribers",
}
STREAMS = [
    *(
        Stream(APP, channel, kind)
        for channel in CHANNELS
        for kind in (Kind.MESSAGES, Kind.EPHEMERAL, Kind.PRESENCE, Kind.ATTACHMENTS, Kind.CHANNEL)
    ),
    Stream(APP, "", Kind.CONNECTIONS),
    Stream(APP, "", Kind.LIFECYCLE),
    Stream("", "", Kind.CONNECTIONS),
]


class History:
    """One seed's steps, done to a log and told to a model."""

    def __init__(self, seed: int, path: Path) -> None:
        self.random = Random(seed)
        self.path = path
        self.clock = FakeClock()
        self.model = Model()
        self.msg_serials: Counter[str] = Counter()
        self.done: list[str] = []
        self.settings = LogSettings(
            heads_max=self.random.choice([2, 100_000]),
            cached_rows_max=self.random.choice([1, 50_000]),
            maintenance_records=self.random.choice([1, 500]),
        )
        self.stack = AsyncExitStack()
        self.log: Log

    async def open(self) -> None:
        opening = open_log(self.path, broker_domain(), wall=self.clock, settings=self.settings)
        self.log = await self.stack.enter_async_context(opening)
        outcome = await self.submit(StartBroker(), app="")
        self.model.epoch += 1
        assert outcome.reply == self.model.epoch

    async def submit(self, command: Any, app: str = APP) -> Outcome:
        return await self.log.submit(command, app=app)

    async def took(self, command: Any, expected: bool) -> None:
        """A command that comes to one event, or to nothing."""
        outcome = await self.submit(command)
        assert len(outcome.serials) == expected, command

    def channel(self) -> str:
        return self.random.choice(CHANNELS)

    def connection(self) -> str:
        """Usually one that is there."""
        known = sorted(self.model.connections)
        return self.random.choice(known) if known and self.random.random() < 0.9 else "nobody"

    def place(self, connection: str) -> tuple[int, bool]:
        """A msgSerial, and whether it may have been accepted before."""
        if self.msg_serials[connection] and self.random.random() < 0.25:
            return self.random.randrange(self.msg_serials[connection]), True
        self.msg_serials[connection] += 1
        return self.msg_serials[connection] - 1, self.random.random() < 0.5

    async def publish(self) -> None:
        connection, channel = self.connection(), self.channel()
        msg_serial, resent = self.place(connection)
        extras = {"ephemeral": True} if self.random.random() < 0.3 else None
        count = self.random.choice([1, 1, 3])
        messages = [Message(name=str(n), extras=extras) for n in range(count)]
        origin = Origin(connection, msg_serial, resent)
        command = as_command(APP, channel, Checked(tuple(messages), 0), origin.base, origin)
        outcome = await self.submit(command)
        known = self.model.accepted.get((connection, msg_serial))
        if known is not None:
            first = known[2]
            assert outcome.duplicate
            assert outcome.serials == tuple(range(first, first + count))
            return
        self.published(command, outcome)
        assert outcome.serials[0] is not None
        self.model.accept((connection, msg_serial), channel, command.kind, outcome.serials[0])

    def published(self, command: Publish, outcome: Outcome) -> None:
        assert not outcome.duplicate
        expected = len(command.messages) + self.model.opened(command.channel)
        assert len(outcome.serials) == expected

    async def publish_keyed(self) -> None:
        connection, channel, id_ = self.connection(), self.channel(), self.random.choice("abcdefg")
        origin = Origin(connection, *self.place(connection))
        checked = Checked((Message(id=id_, name=id_),), 0)
        command = as_command(APP, channel, checked, origin.base, origin)
        outcome = await self.submit(command)
        known = self.model.ids.get((channel, id_))
        if known is not None:
            assert outcome.duplicate
            assert outcome.serials == (known[1],)
            return
        self.published(command, outcome)
        assert outcome.serials[0] is not None
        self.model.ids[channel, id_] = int(command.kind), outcome.serials[0]

    async def change(self) -> None:
        connection, channel = self.connection(), self.channel()
        msg_serial, _ = self.place(connection)
        changes = []
        for number in range(self.random.choice([1, 1, 2, 4])):
            action = self.random.choice(list(PresenceAction)[2:])
            data = self.random.choice([None, "x", "y"])
            who = PresenceMessage(
                id=f"{connection}:{msg_serial}:{number}",
                client_id=self.random.choice(CLIENTS),
                connection_id=connection,
                data=data,
            )
            changes.append(Change(action, who))
        limit = self.random.choice([0, 0, 3])
        command = ChangePresence(APP, channel, connection, tuple(changes), msg_serial, limit)
        known = self.model.accepted.get((connection, msg_serial))
        if known is None and limit and self.exceeds(channel, changes, limit):
            with pytest.raises(BadRequest):
                await self.submit(command)
            return
        outcome = await self.submit(command)
        if known is not None:
            assert outcome.duplicate
            assert outcome.serials == (known[2],)
            return
        told = self.model.change(
            channel,
            msg_serial,
            [
                (c.action.name.lower(), (connection, c.presence.client_id), c.presence.data)
                for c in changes
            ],
        )
        added = self.model.opened(channel) if told else 0
        assert len(outcome.serials) == len(told) + added
        if told:
            assert outcome.serials[0] is not None
            last = outcome.serials[0] + len(told) - 1
            self.model.accept((connection, msg_serial), channel, Kind.PRESENCE, last)
            await self.check_leaves(channel, outcome.serials[0], told)

    def exceeds(self, channel: str, changes: list[Change], limit: int) -> bool:
        """What counts is how many there are in the end; nobody is refused for becoming fewer."""
        there = set(self.model.members.get(channel, {}))
        before = len(there)
        for change in changes:
            who = (change.presence.connection_id, change.presence.client_id)
            (there.discard if change.action is PresenceAction.LEAVE else there.add)(who)
        return len(there) > max(before, limit)

    async def check_leaves(self, channel: str, first: int, told: list[str | None]) -> None:
        stream = Stream(APP, channel, Kind.PRESENCE)
        page = await self.log.read(stream, Span(first), limit=len(told))
        for record, data in zip(page.records, told, strict=True):
            assert isinstance(record.event, MemberLeft) == (data != "")
            if data != "":
                assert record.event.member.data == data

    async def leave(self) -> None:
        connection = self.connection()
        channel = self.channel() if self.random.random() < 0.5 else None
        outcome = await self.submit(LeaveMembers(APP, connection, "base", channel))
        assert len(outcome.serials) == self.model.leave(connection, channel)
        assert outcome.reply is False

    async def attach(self) -> None:
        channel, connection = self.channel(), self.connection()
        modes = int(self.random.choice([DEFAULT, ALL, Mode.SUBSCRIBE, Mode.PRESENCE]))
        outcome = await self.submit(
            occupancy.Attach(APP, channel, connection, modes, self.model.epoch)
        )
        assert len(outcome.serials) == 1 + self.model.opened(channel)
        self.model.attach(channel, connection, modes)

    async def detach(self) -> None:
        """Of this epoch, or a late one of an earlier."""
        if not self.model.attached:
            return
        channel, epoch = self.random.choice(sorted(self.model.attached))
        connection, modes = self.random.choice(self.model.attached[channel, epoch])
        command = occupancy.Detach(APP, channel, connection, modes, epoch)
        await self.took(command, self.model.detach(channel, epoch, connection, modes))

    async def connect(self) -> None:
        number = sum(self.msg_serials.values()) + len(self.done)
        id_, key = f"connection{number}", b"key"
        await self.took(OpenConnection(APP, id_, key, self.model.epoch), True)
        self.model.connections[id_] = Held(key, self.model.epoch)

    async def resume(self) -> None:
        id_ = self.connection()
        held = self.model.connections.get(id_, Held(b"", 0))
        given = self.random.choice([held.key, held.key, held.before, b"guessed"])
        allowed = self.random.random() < 0.5
        key = str(self.random.random()).encode()
        command = ResumeConnection(APP, id_, given, key, self.model.epoch, allowed)
        if self.model.resume(id_, given, key, previous_allowed=allowed):
            await self.took(command, True)
        else:
            with pytest.raises(BadRequest):
                await self.submit(command)

    async def lose(self) -> None:
        id_ = self.connection()
        epoch = self.model.epoch - self.random.choice([0, 0, 1])
        await self.took(LoseConnection(APP, id_, epoch), self.model.lose(id_, epoch))

    async def close(self) -> None:
        id_ = self.connection()
        known = self.model.connections.pop(id_, None) is not None
        await self.took(CloseConnection(APP, id_), known)

    async def expire(self) -> None:
        id_ = self.connection()
        await self.took(ExpireConnection(APP, id_, self.model.epoch), self.model.expire(id_))

    async def close_channel(self) -> None:
        channel = self.channel()
        may = self.model.may_close(channel)
        await self.took(CloseChannel(APP, channel, self.model.epoch), may)
        if may:
            self.model.active.discard(channel)

    async def trim(self) -> None:
        stream = self.random.choice(STREAMS)
        page = await self.log.read(stream, Span(), limit=1_000)
        if page.records:
            cut = self.random.choice(page.records).serial
            await self.log.trim([Cut(stream, cut)])
            self.model.trimmed(stream.channel, stream.kind, cut)

    async def sweep(self) -> None:
        """Everything but the last record or two of each stream goes."""
        keep = self.random.choice([0, 1, 2])
        trimmable = set(STREAMS)
        kept: dict[Stream, int] = {}
        for stream in STREAMS:
            page = await self.log.read(stream, Span(reverse=True), limit=keep + 1)
            if len(page.records) > keep:
                kept[stream] = page.records[-1].serial
        await self.log.sweep(
            lambda _, stream: Retention(records=keep if stream in trimmable else None)
        )
        for stream, cut in kept.items():
            self.model.trimmed(stream.channel, stream.kind, cut)

    async def step_clock(self) -> None:
        self.clock.advance(self.random.choice([0, 1, 1_000, -500]))

    async def rebuild(self) -> None:
        before = await self.log.query(_rows)
        await self.log.rebuild()
        assert await self.log.query(_rows) == before

    async def restart(self) -> None:
        await self.stack.aclose()
        assert verify(self.path, broker_domain(), LogSettings(), lambda *_: None) == []
        await self.open()

    async def compare(self) -> None:
        model = self.model
        with self.log.view() as rows:
            assert latest_epoch(rows) == model.epoch
            assert {info.name for info in channels(rows, APP)} == model.existing
            assert {channel for _, channel in lifecycle.active(rows, APP)} == model.active
            for channel in CHANNELS:
                found = {
                    (m.presence.connection_id, m.presence.client_id): m.presence.data
                    for _, m in presence.members(rows, APP, channel)
                }
                there = model.members.get(channel, {})
                assert found == {who: data for who, (data, _) in there.items()}
                assert presence.count(rows, APP, channel) == len(found)
                self.compare_occupancy(rows, channel)
            assert len(list(rows.scan("occupancy"))) == len(model.attached)
            self.compare_connections(rows)
            for place, (_, _, serial) in model.accepted.items():
                assert accepted(rows, *place) == serial
            assert len(list(rows.scan(ACCEPTED))) == len(model.accepted)
            assert len(list(rows.scan("dedup"))) == len(model.ids)

    def compare_occupancy(self, rows: Any, channel: str) -> None:
        for epoch in range(1, self.model.epoch + 1):
            counts = msgspec.structs.asdict(occupancy.occupancy(rows, APP, channel, epoch))
            expected = self.model.occupancy(channel, epoch, COUNTED)
            assert {name: n for name, n in counts.items() if n} == dict(expected)
            is_attached = bool(self.model.attached.get((channel, epoch)))
            assert occupancy.attached(rows, APP, channel, epoch) == is_attached

    def compare_connections(self, rows: Any) -> None:
        found = {
            row.id: Held(row.key_hash, row.epoch, row.previous_hash, row.lost_ms is not None)
            for row in connections(rows)
        }
        assert found == self.model.connections

    async def run(self) -> None:
        steps = {
            self.publish: 8, self.publish_keyed: 3, self.change: 10, self.leave: 2, self.attach: 6,
            self.detach: 5, self.connect: 4, self.resume: 4, self.lose: 3, self.close: 1,
            self.expire: 3, self.close_channel: 3, self.trim: 4, self.sweep: 1, self.step_clock: 3,
            self.rebuild: 1, self.restart: 1, self.compare: 3,
        }  # fmt: skip
        await self.open()
        await self.submit(CreateApp(APP))
        for step in self.random.choices(list(steps), list(steps.values()), k=STEPS):
            self.done.append(step.__name__)
            await step()
        for last in (self.compare, self.rebuild, self.restart, self.compare):
            await last()
        await self.stack.aclose()
        assert verify(self.path, broker_domain(), LogSettings(), lambda *_: None) == []


def _rows(rows: Any) -> dict[str, dict[bytes, bytes]]:
    """Every row of every projection."""
    return {projection.name: dict(rows.scan(projection.name)) for projection in PROJECTIONS}


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_random_history(seed: int, path: Path) -> None:
    history = History(seed, path)
    print(f"TIDELOG_SEED={seed} TIDELOG_SEEDS=1 pytest tests/broker/test_realtime_model.py")
    try:
        with trio.fail_after(HISTORY_S):
            await history.run()
    finally:
        print(" ".join(history.done))
        await history.stack.aclose()
