"""A broker that is closed while it delivers, and opened again: it goes on, and loses nobody.

And random weather: devices, notifications, a moody provider, time and restarts, in any order.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from broker.push.events import ABLY, MATRIX
from broker.push.transport import SENT, Result
from tests.broker.acting import Time
from tests.broker.push_outbox.delivering import CHANNEL, Delivering, delivering
from tests.broker.push_outbox.gateway import (
    Gateway,
    address,
    misconfigured,
    rejected,
    trouble,
)

pytestmark = pytest.mark.timeout(120)
PAGE = 3
NAMES = [f"d{number}" for number in range(10)]
IN_ORDER = NAMES[:4]


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.push.pages.PAGE_DEVICES", PAGE)


async def test_what_waits_is_delivered_by_the_next(
    path: Path, time: Time, gateway: Gateway
) -> None:
    gateway.says("a", trouble(retry_after_ms=5_000))
    async with delivering(path, time, gateway) as first:
        await first.notify(recipient=address("a"))
        await first.until_waits(**{"": 1})
    async with delivering(path, time, gateway) as second:
        await second.nothing_happens()
        assert len(gateway.got) == 1
        await second.passes_until_delivered()
    assert len(gateway.got) == 2
    assert len({outgoing.id for outgoing in gateway.got}) == 1


async def test_what_was_under_way_is_delivered_by_the_next_under_its_id(
    path: Path, time: Time, gateway: Gateway
) -> None:
    gateway.says("a", trio.Event())
    async with delivering(path, time, gateway) as first:
        await first.notify(recipient=address("a"))
        await gateway.until(1)
    assert gateway.under_way["e"] == 0
    async with delivering(path, time, gateway) as second:
        await second.until_delivered()
    assert len(gateway.got) == 2
    assert len({outgoing.id for outgoing in gateway.got}) == 1


async def test_what_expired_while_it_was_closed_is_not_delivered(
    path: Path, time: Time, gateway: Gateway
) -> None:
    gateway.says("a", trouble(retry_after_ms=5_000))
    async with delivering(path, time, gateway) as first:
        await first.notify(recipient=address("a"), ttl_ms=10_000)
        await first.until_waits(**{"": 1})
    time.wall.advance(10_000)
    async with delivering(path, time, gateway) as second:
        await second.until_delivered()
    assert len(gateway.got) == 1


@pytest.mark.parametrize("stops_at", range(4))
async def test_an_expansion_goes_on_from_its_cursor(
    path: Path, time: Time, gateway: Gateway, stops_at: int
) -> None:
    """Only the page that was under way is repeated, and nobody is left out."""
    never = trio.Event()
    async with delivering(path, time, gateway) as first:
        await first.registered(*NAMES)
        await first.notify(channel=CHANNEL)
        await first.until_delivered()
        order = gateway.names()
        gateway.got.clear()
        pages = [sorted(order[at : at + PAGE]) for at in range(0, len(order), PAGE)]
        gateway.says(pages[stops_at][0], never)
        await first.notify(channel=CHANNEL)
        await first.until(lambda: set(pages[stops_at]) <= set(gateway.names()))
        await first.nothing_happens()
        assert set(gateway.names()) == {name for page in pages[: stops_at + 1] for name in page}
    async with delivering(path, time, gateway) as second:
        await second.until_delivered()
    repeated = {name for name, count in Counter(gateway.names()).items() if count > 1}
    assert set(gateway.names()) == set(NAMES)
    assert repeated == set(pages[stops_at])
    assert len({outgoing.id for outgoing in gateway.got}) == len(NAMES)


async def test_closing_does_not_wait_for_providers(
    path: Path, time: Time, gateway: Gateway
) -> None:
    """Many deliveries are under way, in every phase; no time passes until it is closed."""
    gateway.always["slow"] = trio.Event()
    began = trio.current_time()
    async with delivering(path, time, gateway) as first:
        await first.registered(*NAMES[:5], endpoint="slow")
        await first.registered(*NAMES[5:], endpoint="quick")
        gateway.always["d9"] = trouble(retry_after_ms=1)
        for _ in range(20):
            await first.notify(channel=CHANNEL)
        await gateway.until(40)
    assert trio.current_time() == began
    assert +gateway.under_way == Counter()
    gateway.always.clear()
    async with delivering(path, time, gateway) as second:
        await second.passes_until_delivered()
    assert set(Counter(outgoing.id for outgoing in gateway.got).values()) <= {1, 2, 3}
    assert len({outgoing.id for outgoing in gateway.got}) == 20 * len(NAMES)


async def test_closing_at_any_moment(path: Path, time: Time, gateway: Gateway) -> None:
    """After so many steps of the scheduler, whatever is under way then."""
    async with delivering(path, time, gateway) as first:
        await first.registered(*NAMES)
    for steps in range(0, 60, 5):
        async with delivering(path, time, gateway) as b:
            await b.notify(channel=CHANNEL)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
    async with delivering(path, time, gateway) as last:
        await last.until_delivered()
    assert len({outgoing.id for outgoing in gateway.got}) == 12 * len(NAMES)


class Moody(Gateway):
    """Answers at random. `sent`: what it took, by id; `final`: what it refused for good."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.chance = chance
        self.is_calm = False
        self.sent: Counter[str] = Counter()
        self.final: set[str] = set()

    async def _answer(self, name: str, endpoint: str) -> Result:
        id_ = self.got[-1].id
        answer = self._mood()
        if answer is None:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        if answer == rejected():
            self.final.add(id_)
        if answer == SENT:
            self.sent[id_] += 1
        return answer or SENT

    def _mood(self) -> Result | None:
        if self.is_calm:
            return SENT
        troubles = [trouble(), trouble(), trouble(retry_after_ms=700), rejected(), misconfigured()]
        return self.chance.choice([*[SENT] * 8, *troubles, None])


class Weather:
    """`wanted`: (address, payload number) of everything that was accepted, one by one. The first
    of NAMES are told in order."""

    def __init__(self, path: Path, time: Time, seed: int) -> None:
        self.path, self.time = path, time
        self.chance = random.Random(seed)
        self.gateway = Moody(self.chance)
        self.wanted: set[tuple[str, int]] = set()
        self.number = 0

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Delivering]:
        async with delivering(self.path, self.time, self.gateway) as b:
            yield b

    async def live(self, steps: int) -> None:
        async with self.opened() as b:
            for _ in range(steps):
                await self._step(b)

    async def _step(self, b: Delivering) -> None:
        match self.chance.choice("ccdatts"):
            case "c":
                await self._notify(b, set(NAMES), channel=CHANNEL)
            case "d":
                name = self.chance.choice(NAMES)
                await self._notify(b, {name}, device_id=name)
            case "a":
                name = f"x{self.number}"
                await self._notify(b, {name}, recipient=address(name, self._endpoint()))
            case "t":
                await self.time.passes(self.chance.choice((1, 100, 2_000, 40_000)), b)
            case "s":
                await b.settled()

    def _endpoint(self) -> str:
        return f"e{self.chance.randrange(3)}"

    async def _notify(self, b: Delivering, names: set[str], **to: object) -> None:
        self.number += 1
        await b.notify({"number": self.number}, **to)
        self.wanted |= {(name, self.number) for name in names}

    async def calm(self) -> None:
        """The provider works; everything is delivered."""
        self.gateway.is_calm = True
        async with self.opened() as b:
            await b.passes_until_delivered()
            assert b.due() == []

    def check(self) -> None:
        places: dict[str, tuple[str, int]] = {}
        for one in self.gateway.got:
            place = (one.recipient["address"], one.payload["number"])
            assert places.setdefault(one.id, place) == place
        assert len(set(places.values())) == len(places)
        for name in IN_ORDER:
            numbers = [n for n in self._numbers() if n[0] == name]
            assert numbers == sorted(numbers)
        over = {places[id_] for id_ in self.gateway.sent.keys() | self.gateway.final}
        assert over == self.wanted

    def _numbers(self) -> list[tuple[str, int]]:
        got = self.gateway.got
        return [(one.recipient["address"], one.payload["number"]) for one in got]


@pytest.mark.parametrize("seed", range(4))
async def test_random_weather(path: Path, time: Time, seed: int) -> None:
    """Whatever happens, everything is delivered to everybody, or refused for good."""
    print(f"seed {seed}")
    weather = Weather(path, time, seed)
    async with weather.opened() as b:
        for name in NAMES:
            api = MATRIX if name in IN_ORDER else ABLY
            await b.registered(name, endpoint=weather._endpoint(), api=api)
    for _ in range(4):
        await weather.live(steps=15)
    await weather.calm()
    weather.check()
    assert weather.gateway.sent.total() < len(weather.gateway.got)
