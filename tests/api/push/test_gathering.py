"""What waits for the same place goes together: when, in what order, and who is told what."""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from api.push.gathering import Gathering

SEED = int(os.environ.get("TIDELOG_SEED", random.randrange(1 << 32)))
ROUNDS = 40


@dataclass(frozen=True)
class Item:
    id: str
    size: int = 1


@dataclass
class Server:
    """Answers when it is let, refuses company as it is told, and notes what it was asked."""

    go: trio.Event = field(default_factory=trio.Event)
    asked: list[list[str]] = field(default_factory=list)
    alone: set[str] = field(default_factory=set)
    at_once: int = 0

    async def ask(self, items: Sequence[Item]) -> Sequence[str] | None:
        self.asked.append([item.id for item in items])
        self.at_once += 1
        assert self.at_once == 1, "one request at a time"
        try:
            await self.go.wait()
        finally:
            self.at_once -= 1
        if len(items) > 1 and any(item.id in self.alone for item in items):
            return None
        return [f"told {item.id}" for item in items]


def gathering(server: Server, items_max: int = 100, size_max: int = 1_000) -> Gathering[Item, str]:
    return Gathering(server.ask, items_max, size_max)


async def test_who_comes_alone_goes_at_once(autojump_clock: MockClock) -> None:
    server = Server()
    server.go.set()
    before = trio.current_time()
    gathered = gathering(server)
    assert await gathered.send(Item("a")) == ("told a", True)
    assert trio.current_time() == before, "nobody waits for company"
    assert gathered.is_idle


async def test_who_comes_in_the_same_turn_goes_along() -> None:
    server = Server()
    server.go.set()
    gathered = gathering(server)
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(gathered.send, Item(str(number)))
    assert [sorted(asked) for asked in server.asked] == [list("01234")]


async def sent(gathered: Gathering[Item, str], server: Server, *items: Item) -> list[bool]:
    """Whether each asked. The first is on its way before the others come, in their order."""
    asked: dict[str, bool] = {}

    async def send(item: Item) -> None:
        answer, asked[item.id] = await gathered.send(item)
        assert answer == f"told {item.id}"

    async with trio.open_nursery() as nursery:
        for item in items:
            nursery.start_soon(send, item)
            await wait_all_tasks_blocked()
        server.go.set()
    return [asked[item.id] for item in items]


async def test_what_came_meanwhile_goes_together() -> None:
    server = Server()
    asked = await sent(gathering(server), server, *map(Item, "abcde"))
    assert server.asked == [["a"], ["b", "c", "d", "e"]]
    assert asked == [True, True, False, False, False], "one of each request"


async def test_no_more_than_fits() -> None:
    server = Server()
    await sent(gathering(server, items_max=2), server, *map(Item, "abcdef"))
    assert server.asked == [["a"], ["b", "c"], ["d", "e"], ["f"]]
    server = Server()
    items = [Item("a"), Item("b", 6), Item("c", 4), Item("d", 1), Item("e", 99), Item("f", 1)]
    await sent(gathering(server, size_max=10), server, *items)
    assert server.asked == [["a"], ["b", "c"], ["d"], ["e"], ["f"]]


async def test_an_id_is_in_a_request_once() -> None:
    """The same notification, tried again while an attempt that took too long still goes on."""
    server = Server()
    gathered = gathering(server)
    told: list[int] = []

    async def send(number: int, id_: str) -> None:
        await gathered.send(Item(id_))
        told.append(number)

    async with trio.open_nursery() as nursery:
        for number, id_ in enumerate("abba"):
            nursery.start_soon(send, number, id_)
            await wait_all_tasks_blocked()
        server.go.set()
    assert server.asked == [["a"], ["b", "a"], ["b"]]
    assert told[0] == 0
    assert told[-1] == 2, "the first who came with it went first"


async def test_one_that_cannot_go_with_others_does_not_hold_them() -> None:
    server = Server(alone={"x"})
    names = [*"abcdefgh", "x", *"ijklmnop"]
    await sent(gathering(server), server, Item("first"), *map(Item, names))
    taken = [asked for asked in server.asked if "x" not in asked or asked == ["x"]]
    assert [name for asked in taken for name in asked] == ["first", *names], "each once, in order"
    assert ["x"] in server.asked
    assert len(server.asked) < 12


async def test_who_gives_up_passes_on_and_is_not_asked_for() -> None:
    server = Server()
    gathered = gathering(server)
    scopes = {name: trio.CancelScope() for name in "abcd"}
    told: list[str] = []

    async def send(name: str) -> None:
        with scopes[name]:
            told.append((await gathered.send(Item(name)))[0])

    async with trio.open_nursery() as nursery:
        for name in "abcd":
            nursery.start_soon(send, name)
            await wait_all_tasks_blocked()
        scopes["a"].cancel()  # its request is on its way
        scopes["c"].cancel()  # it waits
        await wait_all_tasks_blocked()
        scopes["b"].cancel()  # it asks now, for all that are left
        await wait_all_tasks_blocked()
        server.go.set()
    assert server.asked == [["a"], ["b", "d"], ["d"]]
    assert told == ["told d"]
    assert gathered.is_idle


async def test_an_error_is_the_askers_and_the_others_go_on() -> None:
    server = Server()
    server.go.set()
    fails = [True]

    async def ask(items: Sequence[Item]) -> Sequence[str] | None:
        if fails.pop() if fails else False:
            raise RuntimeError("a bug")
        return await server.ask(items)

    gathered = Gathering(ask, 100, 1_000)
    told: list[str] = []

    async def send(name: str) -> None:
        try:
            told.append((await gathered.send(Item(name)))[0])
        except RuntimeError:
            told.append("failed")

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(send, name)
    assert sorted(told) == ["failed", *sorted(told[1:])]
    assert told.count("failed") == 1
    assert len(told) == 3


async def test_in_any_weather_each_is_told_of_its_own(autojump_clock: MockClock) -> None:
    """Whoever comes and goes when they like: nobody waits for ever, or is told of another."""
    print(f"TIDELOG_SEED={SEED}")
    choices = random.Random(SEED)

    async def ask(items: Sequence[Item]) -> Sequence[str] | None:
        await trio.sleep(choices.choice([0, 1, 2]))
        if len(items) > 1 and choices.random() < 0.2:
            return None
        return [f"told {item.id}" for item in items]

    gathered = Gathering(ask, 5, 20)
    told = []

    async def send(number: int) -> None:
        await trio.sleep(choices.uniform(0, 20))
        with trio.move_on_after(choices.choice([1, 3, 1_000])):
            answer, _ = await gathered.send(Item(str(number), choices.randint(1, 9)))
            assert answer == f"told {number}"
            told.append(number)

    with trio.fail_after(10_000):
        async with trio.open_nursery() as nursery:
            for number in range(ROUNDS):
                nursery.start_soon(send, number)
    assert len(told) > ROUNDS / 4
    assert gathered.is_idle
    with trio.fail_after(100):
        assert (await gathered.send(Item("last")))[0] == "told last"


@pytest.fixture(autouse=True)
def _no_waiting_for_real(autojump_clock: MockClock) -> None:
    """A test that hangs ends at once."""
