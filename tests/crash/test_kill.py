"""SIGKILL under load: nothing acknowledged is lost or doubled, whatever the writer was doing.

Fault model: the process dies between any two instructions; the page cache survives (what a power
loss takes is test_power_loss.py's). Every kill lands with at least 100 publishes in flight: the
parent reads the writer's journal, kills, reads what is left of it, and counts. After every kill the
log is read and held against the journal. The next writer sends again what was in flight, with the
same ids, and some that were acknowledged: each must be in the log exactly once, under one serial.

TIDELOG_KILLS=5000 kills more often. A seed fixes the loads and when to kill, not the scheduler.
"""

import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from storage import LogSettings
from storage.engine import Engine, Writer
from storage.record import NO_LINK, pack, unpack
from tests.crash.journal import Journal, reopened, violations
from tests.crash.killable import Life
from tests.crash.require import knob
from tests.crash.tracing import (
    Call,
    is_meta,
    is_page,
    kth,
    python,
    read_trace,
    run,
    run_traced,
)
from tests.crash.workload import Plan
from tests.crash.zygote import Zygote

pytestmark = [pytest.mark.crash, pytest.mark.timeout(3_600)]

KILLS = knob("TIDELOG_KILLS", 200)
SEED = knob("TIDELOG_SEED", random.SystemRandom().randrange(1 << 32))
IN_FLIGHT = 100
LIVES_PER_LOG = 10
ACKS_PER_LIFE_MAX = 500
SENT_AGAIN = 20


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@dataclass
class Story:
    """The lives and deaths of the writers of one log."""

    path: Path
    zygote: Zygote
    chance: random.Random
    trouble: str = ""
    journal: Journal = field(default_factory=Journal)
    deaths: int = 0
    troubled_deaths: int = 0
    acked: int = 0

    def live_and_die(self) -> None:
        life = Life(
            path=str(self.path),
            first=len(self.journal.sent),
            seed=self.chance.randrange(1 << 32),
            publishers=self.chance.randint(IN_FLIGHT + 50, 3 * IN_FLIGHT),
            again=self._again(),
            trouble=self.trouble,
        )
        process, pipe = self.zygote.fork(json.dumps(asdict(life)))
        death = Death(self.chance.randrange(ACKS_PER_LIFE_MAX))
        with os.fdopen(pipe) as lines:
            for line in lines:
                death.saw(line.split())
                self.journal.note(*line.split())
                if death.due:
                    os.kill(process, signal.SIGKILL)
        status = self.zygote.wait(process)
        assert status == signal.SIGKILL, f"the writer ended by itself: {status}"
        assert len(death.in_flight) >= IN_FLIGHT, f"only {len(death.in_flight)} were in flight"
        self._count(death)

    def _again(self) -> list[str]:
        """What is in doubt, and some that is not. After trims only what is in doubt: the log may
        have forgotten older ids, rightly."""
        doubt = sorted(self.journal.sent - self.journal.acked.keys())
        known = [] if self.trouble == "trims" else sorted(self.journal.acked)
        return doubt + self.chance.sample(known, min(SENT_AGAIN, len(known)))

    def _count(self, death: "Death") -> None:
        self.deaths += 1
        self.troubled_deaths += death.troubled
        self.acked += death.acked

    def check(self) -> None:
        engine = Engine(self.path, LogSettings())
        try:
            found = violations(engine, self.journal.acked, self.journal.sent)
        finally:
            engine.close()
        assert not found, found[:10]
        assert not self.journal.contradictions
        assert not self.journal.refused

    def check_reopened(self) -> None:
        with reopened(self.path) as engine:
            assert not violations(engine, self.journal.acked, self.journal.sent)


@dataclass
class Death:
    """When to kill a writer: after so many acknowledgements, once enough is in flight."""

    after: int
    acked: int = 0
    in_flight: set[str] = field(default_factory=set)
    troubled: bool = False
    struck: bool = False

    def saw(self, line: list[str]) -> None:
        word = line[0]
        if word == "S":
            self.in_flight.add(line[1])
        elif word == "A":
            self.in_flight.discard(line[1])
            self.acked += 1
        elif word in "Mm":
            self.troubled = word == "M"

    @property
    def due(self) -> bool:
        if self.struck or self.acked < self.after or len(self.in_flight) < IN_FLIGHT:
            return False
        self.struck = True
        return True


def kill_many(tmp_path: Path, zygote: Zygote, kills: int, trouble: str = "") -> list[Story]:
    stories: list[Story] = []
    for number in range(0, kills, LIVES_PER_LOG):
        chance = random.Random(f"{SEED} {trouble} {number}")
        stories.append(Story(tmp_path / f"log-{number}", zygote, chance, trouble))
        for _ in range(min(LIVES_PER_LOG, kills - number)):
            stories[-1].live_and_die()
            stories[-1].check()
        stories[-1].check_reopened()
    return stories


@pytest.fixture(autouse=True)
def replay(request: pytest.FixtureRequest) -> None:
    """Shown when the test fails."""
    print(f"TIDELOG_SEED={SEED} TIDELOG_KILLS={KILLS} python -m pytest '{request.node.nodeid}'")


def test_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path, zygote: Zygote) -> None:
    stories = kill_many(tmp_path, zygote, KILLS)
    assert sum(story.deaths for story in stories) == KILLS
    assert sum(story.acked for story in stories) > KILLS * ACKS_PER_LIFE_MAX / 4


@pytest.mark.parametrize("trouble", ["trims", "rebuilds"])
def test_kills_in_the_middle_of(tmp_path: Path, zygote: Zygote, trouble: str) -> None:
    kills = max(30, KILLS // 5)
    stories = kill_many(tmp_path, zygote, kills, trouble)
    struck = sum(story.troubled_deaths for story in stories)
    assert struck >= kills // 2, f"only {struck} of {kills} kills hit {trouble} under way"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("writev", is_page), ("pwrite64", is_page), ("fdatasync", is_page), ("pwrite64", is_meta)],
    ids=["page run", "page", "sync", "meta"],
)
def test_a_kill_at_each_system_call_of_a_commit(
    tmp_path: Path, name: str, wanted: Callable[[Call], bool]
) -> None:
    """strace kills on the way into the call, with 300 waiters; each kind of call of a commit."""
    run_traced(waiting(tmp_path / "dry"), tmp_path / "dry.trace")
    k = kth(read_trace(tmp_path / "dry.trace"), name, wanted)
    fault = f"{name}:signal=SIGKILL:when={k}"
    said = run_traced(waiting(tmp_path / "log"), tmp_path / "trace", [fault], killed=True)
    journal = Journal().add(said.splitlines())
    assert len(journal.sent) - len(journal.acked) >= IN_FLIGHT
    with reopened(tmp_path / "log") as engine:
        assert not violations(engine, journal.acked, journal.sent)


def waiting(path: Path) -> list[str]:
    return python("tests.crash.workload", "waiters", json.dumps(asdict(Plan(str(path)))))


@pytest.mark.parametrize("harm", ["lost", "doubled", "moved", "unsent", "unchained", "unfolded"])
def test_the_check_finds(tmp_path: Path, harm: str) -> None:
    """`violations` has teeth: each kind of harm, done to a whole log by hand, is found."""
    path = tmp_path / "log"
    plan = json.dumps(asdict(Plan(str(path), rounds=3)))
    journal = Journal().add(run(python("tests.crash.workload", "steady", plan)).splitlines())
    with reopened(path) as engine:
        assert not violations(engine, journal.acked, journal.sent)
        id_, serial = next(iter(journal.acked.items()))
        with engine.write() as writer:
            HARMS.get(harm, lambda *_: None)(writer, serial)
        if harm == "moved":
            journal.acked[id_] = serial + 1
        elif harm == "unsent":
            journal.sent.discard(id_)
        assert violations(engine, journal.acked, journal.sent), f"a post {harm} is not noticed"


def _lose(writer: Writer, serial: int) -> None:
    writer.delete("log", serial.to_bytes(8, "big"))


def _double(writer: Writer, serial: int) -> None:
    """The same post once more, behind the last, in a record that is whole."""
    value = writer.get("log", serial.to_bytes(8, "big"))
    assert value is not None
    old = unpack(serial, value, bytes)
    again, _ = pack(old.stream, serial + (1 << 40), old.link, old.event)
    writer.put("log", (serial + (1 << 40)).to_bytes(8, "big"), again)


def _unchain(writer: Writer, serial: int) -> None:
    """The first record of a chain as if it followed another."""
    value = writer.get("log", serial.to_bytes(8, "big"))
    assert value is not None
    old = unpack(serial, value, bytes)
    value, _ = pack(old.stream, serial, replace(NO_LINK, hash=b"x" * 16), old.event)
    writer.put("log", serial.to_bytes(8, "big"), value)


def _unfold(writer: Writer, serial: int) -> None:
    key, _ = next(writer.walk(writer.rows_table, b"i", b"j"))
    writer.delete(writer.rows_table, key)


HARMS: dict[str, Callable[[Writer, int], None]] = {
    "lost": _lose,
    "doubled": _double,
    "unchained": _unchain,
    "unfolded": _unfold,
}
