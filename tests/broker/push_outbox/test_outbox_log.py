"""What the log knows of notifications on their way: a real log, and nobody who delivers."""

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import broker
from broker import Broker
from broker.errors import NotFound
from broker.event import Kind
from broker.push import outbox_log, waiting
from broker.push.events import Attempt, Selector
from broker.push.outbox_log import (
    AcceptPublish,
    ProgressPublish,
    PublishRow,
    SettleDelivery,
    stream_of,
)
from broker.retention import PUBLISHES_RETENTION_MS
from storage import Cut, Span
from tests.broker.acting import Acting
from tests.broker.conftest import START_MS, FakeClock
from tests.broker.push_outbox.gateway import PAYLOAD

TO_C = Selector(channel="c")
EXPIRES_MS = START_MS + 1_000


class OutboxLog(Acting):
    """The commands, and the rows as plain values."""

    async def accept(self, selector: Selector = TO_C) -> int:
        """Its serial."""
        await self.submit(AcceptPublish(self.app, selector, PAYLOAD, EXPIRES_MS))
        return max(row.serial for row in self.unfinished())

    async def progress(
        self, of: int, after: bytes, cursor: bytes | None, *attempts: Attempt
    ) -> int:
        """How many events that was."""
        command = ProgressPublish(self.app, of, after, cursor, attempts)
        return len((await self.submit(command)).serials)

    async def settle(self, of: int, device: str, again: Attempt | None = None) -> int:
        return len((await self.submit(SettleDelivery(self.app, of, device, again))).serials)

    def unfinished(self) -> list[PublishRow]:
        with self.broker.rows() as rows:
            return list(outbox_log.unfinished(rows))

    def row(self, of: int) -> PublishRow | None:
        with self.broker.rows() as rows:
            return outbox_log.publish(rows, self.app, of)

    def due(self) -> list[tuple[int, str]]:
        with self.broker.rows() as rows:
            found = list(waiting.due(rows))
        assert all(one.at_ms == one.waiting.attempt.at_ms for one in found)
        return [(one.at_ms, one.waiting.attempt.device) for one in found]

    def everything(self) -> list[tuple[bytes, bytes]]:
        with self.broker.rows() as rows:
            return list(rows.scan(outbox_log.TABLE, b""))


@pytest.fixture
async def outbox(path: Path, clock: FakeClock) -> AsyncIterator[OutboxLog]:
    async with broker.open(path, clock=clock, hold_connections=False) as b:
        yield OutboxLog(b)


async def test_accepting_is_one_event_however_many_it_is_for(outbox: OutboxLog) -> None:
    of = await outbox.accept()
    page = await outbox.broker.log.read(stream_of(outbox.app), Span(), limit=10)
    assert [record.serial for record in page.records] == [of]
    assert outbox.unfinished() == [PublishRow(outbox.app, of, TO_C, PAYLOAD, EXPIRES_MS)]


async def test_no_app_no_notification(outbox: OutboxLog) -> None:
    with pytest.raises(NotFound):
        await outbox.submit(AcceptPublish("none", TO_C, PAYLOAD, EXPIRES_MS))
    assert outbox.everything() == []


async def test_a_page_moves_the_cursor_and_leaves_who_waits(outbox: OutboxLog) -> None:
    of = await outbox.accept()
    assert await outbox.progress(of, b"", b"m", Attempt("b", 20, 1), Attempt("a", 10)) == 1
    row = outbox.row(of)
    assert row is not None
    assert (row.cursor, row.waiting) == (b"m", 2)
    assert outbox.due() == [(10, "a"), (20, "b")]


async def test_a_page_counts_once(outbox: OutboxLog) -> None:
    """Whoever comes with a page that somebody was through with already changes nothing."""
    of = await outbox.accept()
    await outbox.progress(of, b"", b"m", Attempt("a", 10))
    before = outbox.everything()
    assert await outbox.progress(of, b"", b"m", Attempt("a", 10)) == 0
    assert await outbox.progress(of, b"", b"z", Attempt("b", 5)) == 0
    assert await outbox.progress(of, b"k", None) == 0
    assert outbox.everything() == before


async def test_delivered_to_everybody_leaves_nothing(outbox: OutboxLog) -> None:
    of = await outbox.accept()
    await outbox.progress(of, b"", None)
    assert outbox.everything() == []
    assert await outbox.progress(of, b"", None) == 0


async def test_the_last_who_waits_ends_it(outbox: OutboxLog) -> None:
    of = await outbox.accept()
    await outbox.progress(of, b"", None, Attempt("a", 10), Attempt("b", 20))
    assert await outbox.settle(of, "a") == 1
    assert outbox.due() == [(20, "b")]
    assert await outbox.settle(of, "b", Attempt("b", 90, 2)) == 1
    assert outbox.due() == [(90, "b")]
    assert await outbox.settle(of, "b") == 1
    assert outbox.everything() == []


async def test_settling_before_the_last_page_does_not_end_it(outbox: OutboxLog) -> None:
    of = await outbox.accept()
    await outbox.progress(of, b"", b"m", Attempt("a", 10))
    await outbox.settle(of, "a")
    row = outbox.row(of)
    assert row is not None
    assert (row.cursor, row.waiting) == (b"m", 0)


async def test_a_delivery_is_settled_once(outbox: OutboxLog) -> None:
    of, other = await outbox.accept(), await outbox.accept()
    await outbox.progress(of, b"", None, Attempt("a", 10), Attempt("b", 10))
    assert await outbox.settle(of, "a") == 1
    assert await outbox.settle(of, "a") == 0
    assert await outbox.settle(of, "never") == 0
    assert await outbox.settle(other, "b") == 0
    row = outbox.row(of)
    assert row is not None
    assert row.waiting == 1


async def test_a_device_that_is_reached_twice_waits_once(outbox: OutboxLog) -> None:
    """It subscribed, or changed its client, between two pages. A row that nothing settles would be
    due for ever."""
    of = await outbox.accept()
    await outbox.progress(of, b"", b"m", Attempt("a", 10, 1))
    await outbox.progress(of, b"m", None, Attempt("a", 20, 1), Attempt("b", 30))
    row = outbox.row(of)
    assert row is not None
    assert row.waiting == len(outbox.due()) == 2
    await outbox.settle(of, "a")
    await outbox.settle(of, "b")
    assert outbox.everything() == []


async def test_the_earliest_first_over_all_notifications(outbox: OutboxLog) -> None:
    chance = random.Random(7)
    expected = []
    for number in range(20):
        of = await outbox.accept()
        at_ms = chance.randrange(1 << 40)
        await outbox.progress(of, b"", None, Attempt(f"d{number}", at_ms))
        expected.append((at_ms, f"d{number}"))
    assert outbox.due() == sorted(expected)


async def test_apps_do_not_share_notifications(outbox: OutboxLog) -> None:
    other = OutboxLog(outbox.broker, (await outbox.broker.apps.create()).id)
    of = await outbox.accept()
    await outbox.progress(of, b"", b"m", Attempt("a", 10))
    assert other.row(of) is None
    assert await other.progress(of, b"m", None) == 0
    assert await other.settle(of, "a") == 0
    assert outbox.due() == [(10, "a")]


async def test_what_is_old_goes_with_what_waits_of_it(outbox: OutboxLog, clock: FakeClock) -> None:
    old = await outbox.accept()
    await outbox.progress(old, b"", b"m", Attempt("a", 10), Attempt("b", 20))
    clock.advance(PUBLISHES_RETENTION_MS + 1)
    new = await outbox.accept()
    await outbox.progress(new, b"", None, Attempt("c", 30))
    await outbox.broker.sweep()
    assert [row.serial for row in outbox.unfinished()] == [new]
    assert outbox.due() == [(30, "c")]
    assert await outbox.settle(old, "a") == 0
    assert await outbox.progress(old, b"m", None) == 0


async def test_a_deleted_app_leaves_nothing(outbox: OutboxLog) -> None:
    other = OutboxLog(outbox.broker, (await outbox.broker.apps.create()).id)
    of = await other.accept()
    await other.progress(of, b"", b"m", Attempt("a", 10))
    await outbox.broker.apps.delete(other.app)
    assert outbox.everything() == []


class Model:
    """The same in plain dictionaries."""

    def __init__(self) -> None:
        self.cursors: dict[int, bytes | None] = {}
        self.waiting: dict[tuple[int, str], Attempt] = {}

    def progress(self, of: int, after: bytes, cursor: bytes | None, *attempts: Attempt) -> None:
        if of not in self.cursors or self.cursors[of] != after:
            return
        self.cursors[of] = cursor
        for attempt in attempts:
            self.waiting.setdefault((of, attempt.device), attempt)
        self._tidy(of)

    def settle(self, of: int, device: str, again: Attempt | None) -> None:
        if (of, device) not in self.waiting:
            return
        before = self.waiting.pop((of, device))
        if again is not None:
            self.waiting[of, device] = replace(again, in_order=before.in_order)
        self._tidy(of)

    def _tidy(self, of: int) -> None:
        if self.cursors[of] is None and not any(known == of for known, _ in self.waiting):
            del self.cursors[of]

    def check(self, outbox: OutboxLog) -> None:
        assert {row.serial: row.cursor for row in outbox.unfinished()} == self.cursors
        due = [(one.at_ms, one.device) for of, one in self.waiting.items() if self._has_turn(*of)]
        assert sorted(outbox.due()) == sorted(due)
        with outbox.broker.rows() as rows:
            for device in DEVICES:
                line = self._line(device)
                first = waiting.first_in_line(rows, outbox.app, device)
                assert first == (min(line) if line else None)

    def _line(self, device: str) -> list[int]:
        return [of for (of, id_), one in self.waiting.items() if id_ == device and one.in_order]

    def _has_turn(self, of: int, device: str) -> bool:
        is_in_order = self.waiting[of, device].in_order
        return not is_in_order or of == min(self._line(device))

    def forget(self, of: int) -> None:
        self.cursors.pop(of, None)
        self.waiting = {place: one for place, one in self.waiting.items() if place[0] != of}


DEVICES = "abcde"
CURSORS: list[bytes | None] = [b"", b"a", b"b", b"c", None]


async def stir(outbox: OutboxLog, model: Model, chance: random.Random) -> None:
    def attempt(device: str = "") -> Attempt:
        device = device or chance.choice(DEVICES)
        in_order = device in "de" and chance.random() < 0.9
        return Attempt(device, chance.randrange(1_000), chance.randrange(3), in_order)

    of = chance.choice([*model.cursors, 1])
    match chance.choice("aapppssst"):
        case "a":
            model.cursors[await outbox.accept()] = b""
        case "p":
            after = chance.choice([model.cursors.get(of), b"a"]) or b""
            following = CURSORS[chance.randrange(CURSORS.index(after) + 1, len(CURSORS))]
            attempts: Any = {one.device: one for one in (attempt() for _ in range(3))}.values()
            await outbox.progress(of, after, following, *attempts)
            model.progress(of, after, following, *attempts)
        case "s":
            places = [*model.waiting, (of, "a")]
            of, device = chance.choice(places)
            again = attempt(device) if chance.random() < 0.4 else None
            await outbox.settle(of, device, again)
            model.settle(of, device, again)
        case "t" if chance.random() < 0.2:
            await outbox.broker.log.trim([Cut(stream_of(outbox.app), of)])
            for known in [one for one in model.cursors if one <= of]:
                model.forget(known)


@pytest.mark.parametrize("seed", range(4))
async def test_random_histories(outbox: OutboxLog, seed: int) -> None:
    """And a rebuild comes to the same rows; when all is delivered there are none."""
    print(f"seed {seed}")
    chance, model = random.Random(seed), Model()
    model.cursors[await outbox.accept()] = b""
    for _ in range(150):
        await stir(outbox, model, chance)
        model.check(outbox)
    before = outbox.everything()
    assert before
    await outbox.broker.rebuild()
    assert outbox.everything() == before
    for of, cursor in list(model.cursors.items()):
        if cursor is not None:
            await outbox.progress(of, cursor, None)
            model.progress(of, cursor, None)
    for of, device in list(model.waiting):
        await outbox.settle(of, device)
        model.settle(of, device, None)
        model.check(outbox)
    assert outbox.everything() == []


async def test_what_is_written_is_read_by_another_process(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock, hold_connections=False) as b:
        of = await OutboxLog(b).accept()
        await OutboxLog(b).progress(of, b"", b"m", Attempt("a", 10, 3))
        before = OutboxLog(b).everything()
    async with broker.open(path, clock=clock, hold_connections=False) as again:
        assert OutboxLog(again).everything() == before
        assert await count(again, Kind.PUBLISHES) == 2


async def count(b: Broker, kind: Kind) -> int:
    return len(await Acting(b).records(kind, ""))
