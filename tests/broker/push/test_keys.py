"""The key file as many tasks use it: how few writes they come to, and what each is told."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from broker.errors import Unavailable
from broker.push.keys import Keys
from storage import LogFull
from storage.keyfile import KEY_BYTES, KeyFile

STUCK_S = 20


class GatedFile(KeyFile):
    """Counts what it writes; holds the first write until it is told to go on, and may refuse it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.entered, self.go = Event(), Event()
        self.writes: list[set[str]] = []
        self.destroyed: list[set[str]] = []
        self.refuses = 0

    def create(self, keys: dict[str, bytes]) -> None:
        self.writes.append(set(keys))
        self.entered.set()
        assert self.go.wait(STUCK_S)
        if self.refuses:
            self.refuses -= 1
            raise LogFull("the key file cannot be written")
        super().create(keys)

    def destroy(self, ids: Iterable[str]) -> None:
        self.destroyed.append(set(ids))
        if self.refuses:
            self.refuses -= 1
            raise LogFull("the key file cannot be written")
        super().destroy(ids)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[GatedFile]:
    file = GatedFile(tmp_path)
    yield file
    file.close()


def key(number: int) -> bytes:
    return bytes([number]) * KEY_BYTES


@asynccontextmanager
async def writing(keys: Keys, file: GatedFile) -> AsyncIterator[trio.Nursery]:
    """The key `first` is being written; it and what the block began are done at the end."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.ensure, {"first": key(0)})
        await trio.to_thread.run_sync(file.entered.wait, STUCK_S)
        yield nursery
        await wait_all_tasks_blocked()
        file.go.set()


async def test_who_comes_during_a_write_shares_the_next(file: GatedFile) -> None:
    keys = Keys(file)
    others = {str(number): key(number) for number in range(50)}
    async with writing(keys, file) as nursery:
        for id_, new in others.items():
            nursery.start_soon(keys.ensure, {id_: new})
    assert file.writes == [{"first"}, set(others)]
    assert {id_: keys.get(id_) for id_ in others} == others


async def test_the_first_who_asks_decides_the_key(file: GatedFile) -> None:
    keys = Keys(file)
    file.go.set()
    await keys.ensure({"a": key(1)})
    await keys.ensure({"a": key(2), "b": key(3)})
    assert (keys.get("a"), keys.get("b")) == (key(1), key(3))
    assert file.writes == [{"a"}, {"b"}]


async def test_who_gives_up_leaves_no_key_behind(file: GatedFile) -> None:
    keys = Keys(file)
    async with writing(keys, file) as nursery:
        nursery.start_soon(keys.ensure, {"stays": key(1)})
        with trio.CancelScope() as scope:
            nursery.start_soon(cancelled_with, scope)
            await keys.ensure({"given up": key(2)})
        assert scope.cancelled_caught
    assert keys.ids() == {"first", "stays"}


async def cancelled_with(scope: trio.CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()


async def test_a_write_that_fails_is_not_everybodys(file: GatedFile) -> None:
    """Whose write it was is told; the others try for themselves."""
    keys, refused = Keys(file), []
    file.refuses = 1

    async def ensure(id_: str) -> None:
        try:
            await keys.ensure({id_: key(1)})
        except Unavailable:
            refused.append(id_)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ensure, "first")
        await trio.to_thread.run_sync(file.entered.wait, STUCK_S)
        for number in range(3):
            nursery.start_soon(ensure, str(number))
        await wait_all_tasks_blocked()
        file.go.set()
    assert refused == ["first"]
    assert keys.ids() == {"0", "1", "2"}


async def test_what_one_destroys_another_does_not_create_by_the_way(file: GatedFile) -> None:
    """A key that was asked for, written and destroyed does not come back with the next write."""
    keys = Keys(file)
    async with writing(keys, file) as nursery:
        nursery.start_soon(keys.destroy, {"first"}, lambda _: set())
        await wait_all_tasks_blocked()
        nursery.start_soon(keys.ensure, {"later": key(2)})
    assert keys.ids() == {"later"}


async def test_who_destroys_during_a_write_shares_the_next(file: GatedFile) -> None:
    """But for keys that are in use by then."""
    keys = Keys(file)
    ids = {str(number) for number in range(20)}
    keys_of_all = {id_: key(1) for id_ in ids}
    file.go.set()
    await keys.ensure(keys_of_all)
    file.go.clear()
    file.entered.clear()
    async with writing(keys, file) as nursery:
        for id_ in ids:
            nursery.start_soon(keys.destroy, {id_}, lambda _: {"3", "7"})
    assert keys.ids() == {"first", "3", "7"}
    assert [gone for gone in file.destroyed if gone] == [ids - {"3", "7"}]


async def test_what_could_not_be_destroyed_goes_with_the_next(file: GatedFile) -> None:
    """Whoever asked may not ask again."""
    keys = Keys(file)
    file.go.set()
    await keys.ensure({id_: key(1) for id_ in "abc"})
    file.refuses = 1
    with pytest.raises(Unavailable):
        await keys.destroy({"a", "b"}, lambda _: set())
    assert keys.ids() == {*"abc"}
    assert await keys.destroy(set(), lambda _: {"b"}) == {"a"}
    assert await keys.destroy(set(), lambda _: set()) == set(), "b is used"
    assert keys.ids() == {"b", "c"}
