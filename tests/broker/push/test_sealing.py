"""What is sealed with a device's key: read by nobody without it, and by nobody once it is gone."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from broker.push.key_ids import device_of, key_id
from broker.push.sealing import Sealer
from storage.keyfile import KeyFile
from tests.storage.surgery import flip

VALUE = {"transportType": "apns", "deviceToken": "a token of this device"}
STUCK_S = 20


class SlowKeys(KeyFile):
    """A key file that is replaced when it is told to."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.entered, self.go = Event(), Event()

    def destroy(self, ids: set[str]) -> None:  # type: ignore[override]
        self.entered.set()
        assert self.go.wait(STUCK_S)
        super().destroy(ids)


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[SlowKeys]:
    keys = SlowKeys(tmp_path)
    yield keys
    keys.close()


@pytest.fixture
async def sealer(keys: SlowKeys) -> Sealer:
    sealer = Sealer(keys)
    for device in ("d", "e"):
        await sealer.ensure("app", device)
    return sealer


@asynccontextmanager
async def being_destroyed(sealer: Sealer, keys: SlowKeys) -> AsyncIterator[None]:
    """The key of d, until the context ends; then it is."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sealer.destroy, {key_id("app", "d")}, lambda _: set())
        await trio.to_thread.run_sync(keys.entered.wait, STUCK_S)
        try:
            yield
        finally:
            keys.go.set()


@pytest.mark.parametrize("value", [VALUE, "a secret", "", {"ü": ["\u6f22", None, 1.5, True]}])
async def test_what_was_sealed_can_be_opened(sealer: Sealer, value: object) -> None:
    sealed = sealer.seal("app", "d", value)
    assert sealer.open("app", "d", sealed) == value
    assert b"token" not in sealed
    assert sealer.seal("app", "d", value) != sealed, "equal addresses do not look equal"


async def test_what_is_anothers_is_not_opened(sealer: Sealer) -> None:
    sealed = sealer.seal("app", "d", VALUE)
    for of in (("app", "e"), ("other", "d"), ("app", "unknown")):
        assert sealer.open(*of, sealed) is None


async def test_a_key_is_its_devices_even_if_another_holds_it(tmp_path: Path) -> None:
    """Rows that were swapped, keys and all, are noticed."""
    keys = KeyFile(tmp_path)
    keys.create({key_id("app", "d"): b"k" * 32, key_id("app", "e"): b"k" * 32})
    sealer = Sealer(keys)
    assert sealer.open("app", "e", sealer.seal("app", "d", VALUE)) is None
    keys.close()


async def test_what_was_changed_is_not_opened(sealer: Sealer) -> None:
    sealed = sealer.seal("app", "d", VALUE)
    for at in range(len(sealed)):
        assert sealer.open("app", "d", flip(sealed, at)) is None, at
        assert sealer.open("app", "d", sealed[:at]) is None, at
    assert sealer.open("app", "d", sealed + b"\0") is None


async def test_a_key_stays_the_same(sealer: Sealer, keys: SlowKeys) -> None:
    before = keys.get(key_id("app", "d"))
    await sealer.ensure("app", "d")
    assert keys.get(key_id("app", "d")) == before != keys.get(key_id("app", "e"))


async def test_one_key_for_all_who_ask_at_once(sealer: Sealer, tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(sealer.ensure, "app", "new")
    sealed = sealer.seal("app", "new", VALUE)
    on_disk = KeyFile(tmp_path)
    assert Sealer(on_disk).open("app", "new", sealed) == VALUE
    on_disk.close()


async def test_a_destroyed_key_does_not_come_back(sealer: Sealer, keys: SlowKeys) -> None:
    sealed = {device: sealer.seal("app", device, VALUE) for device in ("d", "e")}
    keys.go.set()
    await sealer.destroy({key_id("app", "d"), key_id("app", "unknown")}, lambda _: set())
    assert sealer.ids() == {key_id("app", "e")}
    assert sealer.seal("app", "d", VALUE) == b""
    assert sealer.open("app", "d", b"") is None
    await sealer.ensure("app", "d")
    assert sealer.open("app", "d", sealed["d"]) is None
    assert sealer.open("app", "e", sealed["e"]) == VALUE


async def test_a_key_that_goes_is_good_for_nothing(sealer: Sealer, keys: SlowKeys) -> None:
    """Or somebody would seal with it what nobody can open."""
    sealed = sealer.seal("app", "d", VALUE)
    async with being_destroyed(sealer, keys):
        assert sealer.open("app", "d", sealed) is None
        assert sealer.seal("app", "d", VALUE) == b""
        assert sealer.open("app", "e", sealer.seal("app", "e", VALUE)) == VALUE


async def test_a_device_that_came_meanwhile_keeps_its_key(sealer: Sealer, keys: SlowKeys) -> None:
    """Whether one is used is asked when the file is free, not before."""
    used: set[str] = set()
    async with being_destroyed(sealer, keys), trio.open_nursery() as nursery:
        of_e = key_id("app", "e")
        nursery.start_soon(sealer.destroy, {of_e}, lambda _: used)
        await wait_all_tasks_blocked()
        used.add(of_e)
        keys.go.set()
    assert sealer.ids() == {of_e}


async def test_a_key_that_was_used_a_moment_ago_goes_too(sealer: Sealer, keys: SlowKeys) -> None:
    """It was looked at while another was being destroyed, and was given up since."""
    of_d, of_e = key_id("app", "d"), key_id("app", "e")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sealer.destroy, {of_d, of_e}, lambda _: {of_e})
        await trio.to_thread.run_sync(keys.entered.wait, STUCK_S)
        nursery.start_soon(sealer.destroy, {of_e}, lambda _: set())
        await wait_all_tasks_blocked()
        keys.go.set()
    assert sealer.ids() == set()


async def test_whoever_comes_back_gets_another_key(sealer: Sealer, keys: SlowKeys) -> None:
    before = keys.get(key_id("app", "d"))
    async with trio.open_nursery() as nursery, being_destroyed(sealer, keys):
        nursery.start_soon(sealer.ensure, "app", "d")
        await wait_all_tasks_blocked()
    assert keys.get(key_id("app", "d")) not in (None, before)


async def test_a_digest_of_an_address_is_the_same_for_good(tmp_path: Path) -> None:
    """It is on disk before the first device is, and no device's removal takes it along."""
    keys = KeyFile(tmp_path)
    sealer = Sealer(keys)
    before = sealer.address_digest("app", "an address")
    await sealer.ensure("app", "d")
    keys.close()
    again = KeyFile(tmp_path)
    sealer = Sealer(again)
    await sealer.destroy(sealer.ids(), lambda _: set())
    assert sealer.address_digest("app", "an address") == before
    assert Sealer(again).address_digest("app", "an address") == before
    again.close()


async def test_a_digest_tells_apps_addresses_and_brokers_apart(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one, other = KeyFile(tmp_path / "one"), KeyFile(tmp_path / "other")
    asked = [("app", "a"), ("app", "b"), ("appa", ""), ("ap", "pa")]
    sealer = Sealer(one)
    digests = {sealer.address_digest(*of) for of in asked}
    digests |= {Sealer(other).address_digest(*of) for of in asked}
    assert len(digests) == 8
    assert {len(digest) for digest in digests} == {16}
    one.close()
    other.close()


async def test_a_broker_of_before_gets_the_key_of_its_digests(tmp_path: Path) -> None:
    """It has devices with keys, and registers one of them again."""
    keys = KeyFile(tmp_path)
    keys.create({key_id("app", "d"): b"k" * 32})
    sealer = Sealer(keys)
    await sealer.ensure("app", "d")
    assert keys.get(key_id("app", "d")) == b"k" * 32
    assert Sealer(keys).address_digest("app", "a") == sealer.address_digest("app", "a")
    keys.close()


@pytest.mark.parametrize("device", ["d", "a:b", ":", "ü"])
def test_ids_of_keys_can_be_read(device: str) -> None:
    """An app's id has no colon; a device's may have."""
    assert device_of(key_id("app", device)) == ("app", device)
