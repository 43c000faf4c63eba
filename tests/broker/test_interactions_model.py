"""Random histories of messages that change and are annotated, against a model of plain lists.

A history is a few dozen steps: publishes, updates, deletes, appends, annotations made and taken
back, repeats, trims, sweeps, purges of channel, client and app, rebuilds, restarts. After it
history, get, versions and annotations must say what the model says, live, rebuilt and reopened;
what is about messages goes after them and not before; and verify must find nothing.

    TIDELOG_SEEDS=500 pytest tests/broker/test_interactions_model.py    # more histories
    TIDELOG_SEED=17 TIDELOG_SEEDS=1 pytest …                            # this one again
"""

import os
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

import broker
from broker import Broker, BrokerError, BrokerSettings, offline
from broker.domain import PROJECTIONS
from broker.event import Kind
from broker.interactions.keys import TABLE
from broker.interactions.state import APPEND, DELETE, UPDATE
from broker.messages.message import StoredMessage
from broker.messages.publishing import Origin
from broker.tenancy import NamespaceRules
from storage import Cut, LogSettings, Stream
from tests.broker.acting import Acting
from tests.broker.conftest import FakeClock
from tests.broker.interactions.editing import Editing, reaction
from tests.broker.interactions_model import Annotated, Kept, Model

FIRST = int(os.environ.get("TIDELOG_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("TIDELOG_SEEDS", "20")))
STEPS = 80
HISTORY_S = 60
CHANNELS = ["m:c", "m:d"]
CLIENTS = ["me", "you", None]
ABOUT = (Kind.VERSIONS, Kind.ANNOTATIONS)


class History:
    """One seed's steps, done to a broker and told to a model."""

    def __init__(self, seed: int, path: Path) -> None:
        self.random = Random(seed)
        self.path = path
        self.clock = FakeClock()
        self.model = Model()
        self.done: list[str] = []
        self.msg_serials: Counter[str] = Counter()
        self.stack = AsyncExitStack()
        self.b: Broker
        log = LogSettings(
            heads_max=self.random.choice([2, 100_000]),
            cached_rows_max=self.random.choice([1, 50_000]),
            maintenance_records=self.random.choice([1, 500]),
            tail_records_max=self.random.choice([3, 20_000]),
        )
        self.settings = BrokerSettings(message_retention_ms=0, log=log)

    async def open(self) -> None:
        opening = broker.open(self.path, settings=self.settings, clock=self.clock)
        self.b = await self.stack.enter_async_context(opening)
        self.editing = {name: Editing(self.b, name) for name in CHANNELS}

    def some(self) -> tuple[Editing, list[Kept]]:
        channel = self.random.choice(CHANNELS)
        return self.editing[channel], self.model.there(channel)

    def client(self) -> str | None:
        return self.random.choice(CLIENTS)

    def word(self) -> str:
        return self.random.choice(["flood", "ebb", "neap", "spring", ""])

    async def publish(self) -> None:
        m, _ = self.some()
        client, data = self.client(), self.word()
        serial = await m.publish(data, client_id=client)
        self.model.publish(m.channel, Kept(serial, client, [(0, None, data)]))

    async def change(self) -> None:
        m, there = self.some()
        if not there:
            return
        message, action = self.random.choice(there[-5:]), self.random.choice([UPDATE, DELETE])
        name, data = self.random.choice([None, "n"]), self.random.choice([None, self.word()])
        await m.change(message.serial, action, name=name, data=data)
        message.change(action, name, data)

    async def append(self) -> None:
        m, there = self.some()
        if not there:
            return
        message = self.random.choice(there[-3:])
        for _ in range(self.random.choice([1, 1, 4])):
            name, data = self.random.choice([None, None, "n"]), self.word()
            await m.append(message.serial, data, name=name)
            message.append(name, data)

    async def change_again(self) -> None:
        """Over a connection, and once more as it does when it was resumed."""
        m, there = self.some()
        if not there:
            return
        message = self.random.choice(there)
        number, self.msg_serials["conn"] = self.msg_serials["conn"], self.msg_serials["conn"] + 1
        data = self.word()
        first = await m.over(Origin("conn", number, resent=False), message.serial, APPEND, data)
        again = await m.over(Origin("conn", number, resent=True), message.serial, APPEND, data)
        assert (again.duplicate, again.serials) == (True, first.serials[:1])
        message.append(None, data)

    async def annotate(self) -> None:
        m, there = self.some()
        if not there:
            return
        message, client = self.random.choice(there), self.client()
        kinds = ["t:total.v1", "unsummed"] + (["t:distinct.v1"] * 3 if client else [])
        items: list[dict[str, Any]] = []
        for _ in range(self.random.choice([1, 1, 3])):
            items.append(
                {
                    "action": self.random.choice([0, 0, 1]),
                    "type": self.random.choice(kinds),
                    "name": self.random.choice("xy"),
                }
            )
        serials = await m.annotate(message.serial, *items, by=m.by(client))
        for serial, item in zip(serials, items, strict=True):
            assert serial is not None
            made = Annotated(serial, item["action"], item["type"], item["name"], client)
            message.annotations.append(made)

    async def trim(self) -> None:
        m, _ = self.some()
        records = self.model.channels.get(m.channel, [])
        keep = self.random.randint(len(records) // 2, len(records))
        if keep == len(records):
            return
        cut = m.number(records[len(records) - keep - 1].serial)
        await self.b.log.trim([Cut(Stream(m.app, m.channel, Kind.MESSAGES), cut)])
        self.model.trim(m.channel, keep=keep)

    async def sweep(self) -> None:
        """Twice: what is about messages follows them a sweep later."""
        keep = self.random.choice([None, None, 5, 10])
        app = self.b.default_app()
        rules = NamespaceRules(mutable_messages=True, messages_max=keep)
        await self.b.apps.set_namespace(app, "m", rules)
        for _ in range(2):
            await self.b.sweep()
        await self.b.apps.set_namespace(app, "m", NamespaceRules(mutable_messages=True))
        for channel in CHANNELS:
            if keep is not None:
                self.model.trim(channel, keep=keep)
            await self.check_what_is_about_messages(channel)

    async def check_what_is_about_messages(self, channel: str) -> None:
        """Nothing of it is older than the oldest record of a message."""
        records, m = self.model.channels.get(channel, []), self.editing[channel]
        for kind in ABOUT:
            found = await Acting(self.b).records(kind, channel)
            oldest = min((record.serial for record in found), default=None)
            assert oldest is None or (records and oldest > m.number(records[0].serial))

    async def purge_channel(self) -> None:
        m, _ = self.some()
        if self.model.channels.get(m.channel):
            await self.b.purge(m.app, channel=m.channel)
            self.model.trim(m.channel, keep=0)
            for kind in ABOUT:
                assert await Acting(self.b).records(kind, m.channel) == []

    async def purge_client(self) -> None:
        await self.b.purge(self.b.default_app(), client_id="me")
        self.model.redact("me")

    async def purge_app(self) -> None:
        await self.b.purge(self.b.default_app())
        for channel in CHANNELS:
            self.model.trim(channel, keep=0)

    async def step_clock(self) -> None:
        self.clock.advance(self.random.choice([0, 1, 1_000, -500]))

    async def rebuild(self) -> None:
        before = await self.b.log.query(_rows)
        await self.b.rebuild()
        assert await self.b.log.query(_rows) == before

    async def restart(self) -> None:
        await self.stack.aclose()
        assert offline.verify(self.path, LogSettings()) == []
        await self.open()

    async def compare(self) -> None:
        for channel, m in self.editing.items():
            there = self.model.there(channel)
            page = await self.b.channel(channel).history(direction="forwards", limit=1_000)
            assert [_told(found) for found in page.messages] == [_expected(m) for m in there]
            for kept in there[-8:]:
                await self.compare_one(m, kept)
            for kept in self.model.channels.get(channel, []):
                if kept.gone:
                    await self.check_gone(m, kept)
        if not any(self.model.there(channel) for channel in CHANNELS):
            with self.b.rows() as rows:
                assert list(rows.scan(TABLE)) == []

    async def compare_one(self, m: Editing, kept: Kept) -> None:
        assert _told(await m.get(kept.serial)) == _expected(kept)
        limit = self.random.choice([1, 2, 3, 100])
        expected = [(action, data) for action, _, data in kept.versions]
        assert await m.versions(kept.serial, limit) == expected
        found: list[Annotated] = []
        after: str | None = None
        while True:
            page = await m.annotations(kept.serial, after=after, limit=limit)
            for one in page.annotations:
                said = one.annotation
                found.append(
                    Annotated(one.serial, said.action, said.type, said.name, said.client_id)
                )
            after = page.next
            if after is None:
                break
        assert found == kept.annotations

    async def check_gone(self, m: Editing, kept: Kept) -> None:
        one = reaction("x", method="total.v1")
        for asking in (
            m.get(kept.serial),
            m.page(kept.serial),
            m.annotations(kept.serial),
            m.update(kept.serial, "x"),
            m.annotate(kept.serial, one),
        ):
            with pytest.raises(BrokerError) as caught:
                await asking
            assert caught.value.code == 40400

    async def run(self) -> None:
        steps = {
            self.publish: 12, self.change: 10, self.append: 10, self.change_again: 3,
            self.annotate: 12, self.trim: 2, self.sweep: 2, self.purge_channel: 1,
            self.purge_client: 1, self.purge_app: 0.3, self.step_clock: 3, self.rebuild: 1,
            self.restart: 0.7, self.compare: 3,
        }  # fmt: skip
        await self.open()
        await self.editing["m:c"].prepare()
        for step in self.random.choices(list(steps), list(steps.values()), k=STEPS):
            self.done.append(step.__name__)
            await step()
        for last in (self.compare, self.sweep, self.rebuild, self.restart, self.compare):
            await last()
        await self.stack.aclose()
        assert offline.verify(self.path, LogSettings()) == []


def _told(found: StoredMessage) -> tuple[Any, ...]:
    return found.serial, found.client_id, found.action, found.name, found.data, found.summary


def _expected(kept: Kept) -> tuple[Any, ...]:
    return kept.serial, kept.client, *kept.latest, kept.summary()


def _rows(rows: Any) -> dict[str, dict[bytes, bytes]]:
    """Every row of every projection."""
    return {projection.name: dict(rows.scan(projection.name)) for projection in PROJECTIONS}


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_random_history(seed: int, path: Path) -> None:
    history = History(seed, path)
    print(f"TIDELOG_SEED={seed} TIDELOG_SEEDS=1 pytest tests/broker/test_interactions_model.py")
    with trio.fail_after(HISTORY_S):
        try:
            await history.run()
        finally:
            print(" ".join(history.done))
            await history.stack.aclose()
