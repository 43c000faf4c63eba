"""SIGKILL of a broker that accepts and delivers notifications: nobody is left out.

Fault model: the process dies between any two instructions, so between a provider's answer and what
it meant in the log too. After the kills one more life delivers what is left. Then everything that
was accepted was delivered to every recipient at least once, and to nobody else; what was never
answered was delivered to all of its recipients or to none; nothing was delivered that was not
offered; a delivery had one id however often it was made, and within one life it was made once.
What came of a notification was published once, and adds up. Devices that are told in order were
tried in that of the log, over all lives.

TIDELOG_PUSH_KILLS=1000 kills more often. A seed fixes what to publish and when to kill, not the
scheduler.
"""

import json
import os
import random
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec
import pytest

import broker
from broker.event import Kind
from broker.push.events import PublishAccepted, Tally
from storage import Span, Stream
from tests.crash.push_killable import Life
from tests.crash.push_recipients import IN_ORDER, following, prepare, recipients
from tests.crash.require import knob
from tests.crash.zygote import Zygote

pytestmark = [pytest.mark.crash, pytest.mark.timeout(3_600)]

KILLS = knob("TIDELOG_PUSH_KILLS", 60)
SEED = knob("TIDELOG_SEED", random.SystemRandom().randrange(1 << 32))
LIVES_PER_LOG = 15
PUBLISHES_MAX = 20
Delivery = tuple[int, str]


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote("tests.crash.push_killable")
    yield zygote
    zygote.close()


@dataclass
class Journal:
    """What the brokers of one log said. `ids`: those that a delivery was made under."""

    offered: set[int] = field(default_factory=set)
    accepted: set[int] = field(default_factory=set)
    ids: defaultdict[Delivery, set[str]] = field(default_factory=lambda: defaultdict(set))
    tried: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    made: int = 0
    twice_in_a_life: list[Delivery] = field(default_factory=list)
    in_this_life: set[Delivery] = field(default_factory=set)
    is_drained: bool = False

    def note(self, word: str, *rest: str) -> None:
        match word:
            case "S":
                self.offered.add(int(rest[0]))
            case "A":
                self.accepted.add(int(rest[0]))
            case "T":
                self.tried[rest[1]].append(int(rest[0]))
            case "D":
                self._delivered((int(rest[0]), rest[1]), rest[2])
            case "I":
                self.is_drained = True

    def _delivered(self, delivery: Delivery, id_: str) -> None:
        self.made += 1
        self.ids[delivery].add(id_)
        if delivery in self.in_this_life:
            self.twice_in_a_life.append(delivery)
        self.in_this_life.add(delivery)

    @property
    def repeats(self) -> int:
        return self.made - len(self.ids)

    def violations(self) -> list[str]:
        """What must not be so once everything was delivered."""
        reached: defaultdict[int, set[str]] = defaultdict(set)
        for number, address in self.ids:
            reached[number].add(address)
        found = [f"{n} was delivered but not offered" for n in reached.keys() - self.offered]
        for number in self.offered:
            wanted, got = recipients(number), reached[number]
            if got != wanted and (got or number in self.accepted):
                found.append(f"{number}: not to {wanted - got}, wrongly to {got - wanted}")
        found += [f"{of} has the ids {ids}" for of, ids in self.ids.items() if len(ids) > 1]
        if len({id_ for ids in self.ids.values() for id_ in ids}) < len(self.ids):
            found.append("two deliveries share an id")
        return found + [f"{of} was made twice in one life" for of in self.twice_in_a_life]


@dataclass
class Log:
    """What the log has of it: numbers as they were accepted, and what was told of each."""

    order: list[int] = field(default_factory=list)
    tallies: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    def note(self, event: PublishAccepted) -> None:
        number = int(str(event.payload["number"]))
        if "tally" in event.payload:
            tally = msgspec.convert(event.payload["tally"], Tally)
            self.tallies[number].append(sum((*tally.sent.values(), *tally.failed.values())))
        else:
            self.order.append(number)

    def violations(self, journal: Journal) -> list[str]:
        at = {number: place for place, number in enumerate(self.order)}
        found = [
            f"{address} was tried with {numbers}"
            for address, numbers in journal.tried.items()
            if [at[number] for number in numbers] != sorted(at[number] for number in numbers)
        ]
        for number in self.order:
            told = [len(recipients(number)) - 1] if following(number) else []
            if self.tallies[number] != told:
                found.append(f"of {number} was told {self.tallies[number]}")
        return found


async def read_log(path: Path) -> Log:
    log = Log()
    async with broker.open(path, hold_connections=False) as b:
        stream = Stream(b.default_app(), "", Kind.PUBLISHES)
        more, first = True, 0
        while more:  # a read gives no more than so many records, whatever is asked for
            records, more, last = await b.log.read(stream, Span(first), limit=1_000)
            first = last + 1
            for record in records:
                if isinstance(record.event, PublishAccepted):
                    log.note(record.event)
    return log


@dataclass
class Story:
    """The lives and deaths of the brokers of one log."""

    path: Path
    zygote: Zygote
    chance: random.Random
    journal: Journal = field(default_factory=Journal)
    deaths: int = 0
    next_number: int = 0

    def live_and_die(self) -> None:
        """The kill comes after so many lines, of those that are sure to come."""
        count = self.chance.randint(1, PUBLISHES_MAX)
        numbers = range(self.next_number, self.next_number + count)
        sure = 2 * count + sum(len(recipients(number)) for number in numbers)
        self._live(count, kill_after=self.chance.randint(1, sure))
        self.deaths += 1

    def drain(self) -> None:
        self._live(0)
        assert self.journal.is_drained

    def _live(self, count: int, kill_after: int | None = None) -> None:
        self.journal.in_this_life.clear()
        self.journal.is_drained = False
        seed = self.chance.randrange(1 << 32)
        life = Life(str(self.path), self.next_number, count, seed, drains=kill_after is None)
        self.next_number += count
        process, pipe = self.zygote.fork(json.dumps(asdict(life)))
        with os.fdopen(pipe) as lines:
            for number, line in enumerate(lines, 1):
                self.journal.note(*line.split())
                is_late = self.journal.is_drained and kill_after is not None
                if number == kill_after or is_late:  # late: it lost some, which the check will say
                    os.kill(process, signal.SIGKILL)
        status = self.zygote.wait(process)
        assert status == (0 if life.drains else signal.SIGKILL), f"it ended by itself: {status}"


async def check(story: Story) -> None:
    log = await read_log(story.path)
    found = story.journal.violations() + log.violations(story.journal)
    assert not found, found[:10]
    assert log.tallies
    assert len(story.journal.tried) == len(IN_ORDER)


async def test_nobody_is_left_out(
    tmp_path: Path, zygote: Zygote, record_property: Callable[[str, object], None]
) -> None:
    print(f"TIDELOG_SEED={SEED} TIDELOG_PUSH_KILLS={KILLS}")
    stories: list[Story] = []
    for number in range(0, KILLS, LIVES_PER_LOG):
        path = tmp_path / f"log-{number}"
        await prepare(path)
        story = Story(path, zygote, random.Random(f"{SEED} {number}"))
        stories.append(story)
        for _ in range(min(LIVES_PER_LOG, KILLS - number)):
            story.live_and_die()
        story.drain()
        await check(story)
    deaths = sum(story.deaths for story in stories)
    made = sum(story.journal.made for story in stories)
    repeats = sum(story.journal.repeats for story in stories)
    assert deaths == KILLS
    print(f"{deaths} kills, {made} deliveries, {repeats} of them made before")
    record_property("deliveries", made)
    record_property("repeats", repeats)
    assert repeats, "no kill came between a delivery and what was written of it"


HARMS = {
    "lost": "not to {'c0'}",
    "half": "not to {'c0'}",
    "wrong": "wrongly to {'x'}",
    "unoffered": "not offered",
    "renamed": "has the ids",
    "shared": "share an id",
    "twice": "twice in one life",
}


def test_the_check_finds_what_is_out_of_order_and_what_was_told_twice() -> None:
    log, journal = Log(order=[5, 1, 2]), Journal(tried=defaultdict(list, d0=[5, 5, 1, 2], d1=[2]))
    assert log.violations(journal) == []
    journal.tried["d1"].append(1)
    assert log.violations(journal) == ["d1 was tried with [2, 1]"]
    log = Log(order=[4])
    assert log.violations(Journal()) == ["of 4 was told []"]
    log.tallies[4] += [33, 33]
    assert log.violations(Journal()) == ["of 4 was told [33, 33]"]
    log.tallies[4] = [32]
    assert log.violations(Journal()) == ["of 4 was told [32]"]


@pytest.mark.parametrize("harm", HARMS)
def test_the_check_finds(harm: str) -> None:
    """`violations` has teeth: each kind of harm, done to a whole journal by hand, is found."""
    journal = Journal(offered={1, 5, 9}, accepted={1, 5})
    for number in (1, 5):
        for address in recipients(number):
            journal.note("D", str(number), address, f"{number}{address}")
    assert journal.violations() == []
    match harm:
        case "lost":
            del journal.ids[5, "c0"]
        case "half":
            del journal.ids[5, "c0"]
            journal.accepted.discard(5)
        case "wrong":
            journal.note("D", "5", "x", "5x")
        case "unoffered":
            journal.offered.discard(5)
        case "renamed":
            journal.ids[5, "c0"].add("other")
        case "shared":
            journal.ids[5, "c0"] = {"1c0"}
        case "twice":
            journal.note("D", "5", "c0", "5c0")
    assert any(HARMS[harm] in found for found in journal.violations())
