"""What an attachment was given of messages that change: fragments to who has the rest, else wholes.

The random histories drive `Given` and `delivery.runs` without a log: changes are committed, told
later and in other batches than they came in, and states are read as they are by then. Whatever is
told must bring its receiver to the true text of that version.
"""

from collections import defaultdict
from random import Random
from typing import Any

import pytest

from broker.channels.message_filter import MessageFilter, message_filter
from broker.event import Kind
from broker.events import MessageAppended, MessagePublished, MessageUpdated
from broker.interactions.showing import MessageShown
from broker.interactions.state import APPEND, CREATE, DELETE, UPDATE, State
from broker.live import given
from broker.live.delivery import View, runs
from broker.live.given import AS_IT_SAYS, Given, Plan, Sight
from broker.live.hub import Batch
from broker.messages.message import Message
from broker.messages.serials import parse
from storage import Record, Stream
from storage.record import NO_LINK

SERIES = "abcdefghij"
SEEDS = range(300)


def record(serial: int, event: Any) -> Record:
    kind = Kind.MESSAGES if isinstance(event, MessagePublished) else Kind.VERSIONS
    return Record(serial, Stream("app", "c", kind), event, NO_LINK, b"")


def append(serial: int, of: int, data: str = "x") -> Record:
    return record(serial, MessageAppended(of, "id", Message(data=data)))


def update(serial: int, of: int) -> Record:
    return record(serial, MessageUpdated(of, "id", Message(data="u"), UPDATE))


def shown(of: int, version: int) -> Record:
    return record(of, MessageShown(of, State(Message(data="s"), version)))


def state(version: int) -> Any:
    return lambda of: State(Message(data="s"), version)


def gone(of: int) -> State | None:
    return None


def asked(of: int) -> State | None:
    raise AssertionError("nobody needs to know how it stands")


def whole(*of: int) -> Plan:
    return Plan(frozenset(of))


def had(of: int, version: int) -> Plan:
    return Plan(had=frozenset({(of, version)}))


def test_who_saw_it_published_gets_fragments() -> None:
    known = Given(since=10)
    assert known.plan(Batch([append(20, 11), append(21, 11)]), asked) is AS_IT_SAYS
    assert known.plan(Batch([append(22, 11)]), asked) is AS_IT_SAYS


def test_who_did_not_is_given_it_whole_first() -> None:
    known = Given(since=10)
    assert known.plan(Batch([append(20, 9)]), state(20)) == whole(9)
    assert known.plan(Batch([append(21, 9)]), asked) is AS_IT_SAYS


def test_an_update_is_whole_by_itself() -> None:
    known = Given(since=10)
    assert known.plan(Batch([update(20, 9), append(21, 9)]), asked) is AS_IT_SAYS
    assert known.plan(Batch([append(22, 9)]), asked) is AS_IT_SAYS
    assert known.plan(Batch([append(23, 8), update(24, 8)]), state(24)) == whole(8)


def test_what_a_whole_was_ahead_of_is_passed_over() -> None:
    """All of it, or the first of what a batch brings."""
    known = Given(since=10)
    assert known.plan(Batch([append(20, 9)]), state(25)) == whole(9)
    assert known.plan(Batch([append(22, 9), append(25, 9)]), asked) == had(9, 25)
    assert known.plan(Batch([append(26, 9)]), asked) is AS_IT_SAYS
    assert known.plan(Batch([append(27, 8)]), state(28)) == whole(8)
    assert known.plan(Batch([append(28, 8), append(29, 8)]), asked) == had(8, 28)


def test_a_message_that_is_gone_is_told_of_no_more() -> None:
    known = Given(since=10)
    assert known.plan(Batch([append(20, 9)]), gone) == whole(9)
    items = [run.items for run in runs(_with_states(Batch([append(20, 9)]), {}), SERIES, VIEW)]
    assert items == [[items[0][0]]]
    assert list(runs(_with_states(Batch([append(20, 9)]), {9: None}), SERIES, VIEW, whole(9))) == []


def test_what_was_shown_is_had() -> None:
    known = Given(since=None)
    assert known.plan(Batch([shown(9, 15)]), asked) is AS_IT_SAYS
    assert known.plan(Batch([shown(9, 15)]), asked) == had(9, 15)
    assert known.plan(Batch([append(16, 9)]), asked) is AS_IT_SAYS
    assert known.plan(Batch([shown(9, 18)]), asked) is AS_IT_SAYS


def test_after_a_gap_nothing_is_had() -> None:
    known = Given(since=10)
    known.plan(Batch([update(20, 9)]), asked)
    known.forget(None)
    assert known.plan(Batch([append(21, 9), append(22, 12)]), state(22)) == whole(9, 12)
    known.forget(22)
    assert known.plan(Batch([append(24, 23)]), asked) is AS_IT_SAYS
    assert known.plan(Batch([append(25, 12)]), state(25)) == whole(12)


def test_so_many_messages_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that changed last. Of what was seen published nothing needs to be."""
    monkeypatch.setattr(given, "REMEMBERED_MAX", 3)
    known = Given(since=100)
    for serial, of in enumerate((1, 2, 3, 1, 4), 200):
        known.plan(Batch([update(serial, of)]), asked)
    for of in range(101, 150):
        known.plan(Batch([append(250 + of, of)]), asked)
    assert known.plan(Batch([append(500 + of, of) for of in (1, 3, 4)]), asked) is AS_IT_SAYS
    assert known.plan(Batch([append(510, 2)]), state(510)) == whole(2)
    assert known.plan(Batch([append(511, 1)]), state(511)) == whole(1)


def test_plans_are_equal_where_what_they_say_is() -> None:
    """They are part of what an encoding is shared by."""
    one, other = Given(since=10), Given(since=8)
    batch = Batch([append(20, 7), append(21, 12)])
    plans = {known.plan(batch, state(21)) for known in (one, other)}
    assert plans == {whole(7)}
    assert {known.plan(Batch([append(22, 7)]), asked) for known in (one, other)} == {AS_IT_SAYS}


VIEW = View(binary=False, messages=True, presence=True)


def _with_states(batch: Batch, states: dict[int, State | None]) -> Batch:
    batch.states.update(states)
    return batch


class World:
    """What was committed, and the truth about it. `told`: how much of it was handed on."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.serial = 1 << 20
        self.records: list[Record] = []
        self.told = 0
        self.states: dict[int, State] = {}
        self.texts: defaultdict[int, dict[int, str]] = defaultdict(dict)

    def commit(self) -> None:
        if not self.states or self.chance.random() < 0.2:
            self.publish()
        else:
            self.change()

    def next(self) -> int:
        self.serial += self.chance.choice([1, 1 << 10])
        return self.serial

    def name(self) -> str | None:
        return self.chance.choice([None, None, None, "a", "b"])

    def publish(self) -> None:
        message = Message(name=self.name() or "a", data="p", connection_id=self.connection())
        serial = self.next()
        self.records.append(record(serial, MessagePublished(message, mutable=True)))
        self.keep(serial, State(message, serial, CREATE))

    def change(self) -> None:
        of = self.chance.choice(list(self.states)[-4:])
        before, serial = self.states[of].message, self.next()
        sent = (self.connection(), 0)
        name, letter = self.name() or before.name, self.chance.choice("xyz")
        if self.chance.random() < 0.7:
            fragment = Message(name=name, data=letter)
            self.records.append(record(serial, MessageAppended(of, "i", fragment, sent=sent)))
            self.keep(of, State(Message(name=name, data=before.data + letter), serial, UPDATE))
            return
        action = self.chance.choice([UPDATE, DELETE])
        message = Message(name=name, data=letter)
        self.records.append(record(serial, MessageUpdated(of, "i", message, action, sent=sent)))
        self.keep(of, State(message, serial, action))

    def connection(self) -> str:
        return self.chance.choice(["me", "you"])

    def keep(self, of: int, state: State) -> None:
        self.states[of] = state
        self.texts[of][state.version] = state.message.data

    def hand_on(self) -> Batch | None:
        """Some of what was committed, of one commit or several."""
        count = self.chance.randint(0, len(self.records) - self.told)
        records = self.records[self.told : self.told + count]
        self.told += count
        return Batch(records) if records else None


class Receiver:
    """Knows no more than what it is told."""

    def __init__(self, world: World, known: Given, view: View) -> None:
        self.world = world
        self.known = known
        self.view = view
        self.texts: dict[int, str] = {}
        self.versions: dict[int, int] = {}

    def take(self, batch: Batch) -> None:
        plan = self.known.plan(batch, lambda of: self.state_of(batch, of))
        for run in runs(batch, SERIES, self.view, plan):
            for item in run.items:
                self.apply(item)

    def state_of(self, batch: Batch, of: int) -> State | None:
        return batch.states.setdefault(of, self.world.states.get(of))

    def apply(self, item: dict[str, Any]) -> None:
        of, version = parse(item["serial"], SERIES), parse(item["version"]["serial"], SERIES)
        if item["action"] == APPEND:
            self.texts[of] += item["data"]
        else:
            self.texts[of] = item["data"]
        self.versions[of] = version
        assert self.texts[of] == self.world.texts[of][version], (of, version)


def drive(
    seed: int, *, selected: MessageFilter | None = None, silent_for: str | None = None
) -> Receiver:
    """A history; the receiver comes when some of it has happened."""
    print(f"seed {seed}")
    chance = Random(seed)
    world = World(chance)
    for _ in range(chance.randint(0, 10)):
        world.commit()
    world.told = len(world.records)
    known = Given(world.serial)
    if selected or silent_for:
        known.sight = Sight(selected, silent_for)
    view = View(binary=False, messages=True, presence=True, without=silent_for, filter=selected)
    receiver = Receiver(world, known, view)
    for _ in range(chance.randint(10, 60)):
        world.commit()
        if chance.random() < 0.4 and (batch := world.hand_on()):
            receiver.take(batch)
        if chance.random() < 0.03:
            known.forget(
                chance.choice([None, world.records[world.told - 1].serial]) if world.told else None
            )
    if rest := world.records[world.told :]:
        receiver.take(Batch(rest))
    return receiver


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_told_is_true_and_the_end_is_told(seed: int) -> None:
    receiver = drive(seed)
    world = receiver.world
    for of, version in receiver.versions.items():
        assert version == world.states[of].version
        assert receiver.texts[of] == world.states[of].message.data


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("silent", [None, "me"])
def test_what_is_kept_from_an_attachment_leaves_no_hole(seed: int, silent: str | None) -> None:
    """By a filter that messages begin and cease to match, by echo=false, by both."""
    receiver = drive(seed, selected=message_filter('name == `"a"`'), silent_for=silent)
    for of, version in receiver.versions.items():
        state_ = receiver.world.states[of]
        if silent is None and state_.message.name == "a":
            assert version == state_.version


@pytest.mark.parametrize("seed", SEEDS)
def test_own_changes_leave_no_hole(seed: int) -> None:
    drive(seed, silent_for="me")
