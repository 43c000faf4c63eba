"""Devices with encryption: their chain comes and goes with them, whatever happens on the way."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import broker
from broker import BadRequest, Broker
from broker.push import key_chain
from broker.push.key_ids import ADDRESSES, device_of, of_chain
from broker.push.month_keys import Encryption
from broker.push.service import DeviceSpec
from broker.push.transport import MonthKey
from storage.keyfile import KeyFile
from tests.broker.conftest import FakeClock
from tests.broker.push.registered import address, on_disk, spec
from tests.broker.push.test_erasure import key_ids

START_MS = int(datetime.fromisoformat("2024-01-15T12:00:00+00:00").timestamp() * 1_000)
ISS = {"old": b"o" * 32, "new": b"n" * 32}


@pytest.fixture
def clock() -> FakeClock:
    clock = FakeClock()
    clock.ms = START_MS
    return clock


def encrypted(named: str, id_: str = "d") -> tuple[DeviceSpec, Encryption]:
    recipient = {**address(), "encryption": {"keyIdentifier": named}}
    return spec(id_, recipient=recipient), Encryption(ISS[named], "2024-01", named)


async def register(b: Broker, named: str | None, id_: str = "d") -> None:
    if named is None:
        await b.push.register(b.default_app(), spec(id_))
        return
    wanted, encryption = encrypted(named, id_)
    await b.push.register(b.default_app(), wanted, encryption=encryption)


async def key(b: Broker, named: str, id_: str = "d") -> MonthKey | None:
    return await b.push._sealer.months.key(b.default_app(), id_, named, b.time_ms())


def expected(named: str, month: str = "2024-01") -> MonthKey:
    link = key_chain.advanced(key_chain.first(ISS[named], "2024-01"), month)
    return MonthKey(month, link.key)


def chain_ids(path: Path) -> set[str]:
    return {id_ for id_ in _all_ids(path) if of_chain(id_)}


def _all_ids(path: Path) -> set[str]:
    keys = KeyFile(path)
    keys.close()
    return keys.ids() - {ADDRESSES}


async def test_a_device_and_its_chain(opened: Broker, path: Path) -> None:
    await register(opened, "old")
    assert await key(opened, "old") == expected("old")
    assert len(chain_ids(path)) == 2
    assert {device_of(id_) for id_ in chain_ids(path)} == {(opened.default_app(), "d")}
    everything = on_disk(path)
    assert ISS["old"] not in everything
    assert b'"old"' not in everything, "its identifier is sealed"


async def test_another_chain_takes_its_place(opened: Broker, path: Path) -> None:
    await register(opened, "old")
    await register(opened, "new")
    assert await key(opened, "old") is None
    assert await key(opened, "new") == expected("new")
    assert len(chain_ids(path)) == 2


async def test_without_encryption_there_is_no_chain(opened: Broker, path: Path) -> None:
    await register(opened, "old")
    await register(opened, None)
    assert await key(opened, "old") is None
    assert chain_ids(path) == set()
    await register(opened, "old")
    await opened.push.patch(opened.default_app(), "d", recipient=address())
    assert chain_ids(path) == set()


async def test_with_a_device_go_its_month_keys(opened: Broker, path: Path) -> None:
    app = opened.default_app()
    await register(opened, "old", "d")
    await register(opened, "new", "e")
    secrets = [opened.push._sealer._keys.get(id_) for id_ in opened.push._sealer.ids_of(app, "d")]
    await opened.push.remove(app, device="d")
    assert {device_of(id_) for id_ in _all_ids(path)} == {(app, "e")}
    assert len(chain_ids(path)) == 2
    everything = on_disk(path)
    assert all(secret and secret not in everything for secret in secrets)
    await opened.push.remove(app)
    assert _all_ids(path) == set()


async def test_with_an_app_go_the_month_keys_of_its_devices(opened: Broker, path: Path) -> None:
    other = (await opened.apps.create()).id
    wanted, encryption = encrypted("old")
    await opened.push.register(other, wanted, encryption=encryption)
    await register(opened, "old")
    await opened.apps.delete(other)
    assert {device_of(id_)[0] for id_ in _all_ids(path)} == {opened.default_app()}
    assert await key(opened, "old") == expected("old")


async def test_a_secret_that_is_none_registers_nothing(opened: Broker, path: Path) -> None:
    wanted, encryption = encrypted("old")
    with pytest.raises(BadRequest, match="32 bytes"):
        await opened.push.register(
            opened.default_app(), wanted, encryption=encryption._replace(iss=b"short")
        )
    assert opened.push.device(opened.default_app(), "d") is None
    assert chain_ids(path) == set()


class Killed(Exception):
    """The process ends here."""


class Kill:
    """Ends the process at one of its writes of the key file, before or after it."""

    def __init__(self) -> None:
        self.at: int | None = None
        self.is_after = False
        self.writes = 0

    @contextmanager
    def at_write(self, number: int, is_after: bool) -> Iterator[None]:
        self.writes, self.at, self.is_after = 0, number, is_after
        try:
            yield
        finally:
            self.at = None

    def __call__(self, write: Any) -> Any:
        def killed(*given: Any) -> None:
            self.writes += 1
            if self.writes == self.at and not self.is_after:
                raise Killed
            write(*given)
            if self.writes == self.at:
                raise Killed

        return killed


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Kill:
    kill = Kill()
    for name in ("create", "_replace"):
        monkeypatch.setattr(KeyFile, name, kill(getattr(KeyFile, name)))
    return kill


STEPS: list[tuple[str | None, str | None]] = [
    (None, "new"),
    ("old", "new"),
    ("old", None),
    ("old", "old"),
]


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize(("before", "after"), STEPS)
async def test_killed_at_any_write_the_address_that_is_there_has_its_chain(
    path: Path,
    clock: FakeClock,
    kill: Kill,
    before: str | None,
    after: str | None,
    at: int,
    is_after: bool,
) -> None:
    async with broker.open(path, clock=clock) as b:
        await register(b, before)
    with pytest.raises(Killed) if kill_comes(before, after, at) else nullcontext():
        await restarted(path, clock, kill, at, is_after, after)
    async with broker.open(path, clock=clock) as b:
        device = b.push.device(b.default_app(), "d")
        assert device
        named = b.push.recipient(b.default_app(), device).get("encryption", {}).get("keyIdentifier")
        assert named in (before, after)
        assert len(chain_ids(path)) == (2 if named else 0), "nothing else is left"
        if named:
            assert await key(b, named) == expected(named)
            clock.ms = START_MS + 62 * 24 * 3_600_000
            assert await key(b, named) == expected(named, "2024-03")


async def restarted(
    path: Path, clock: FakeClock, kill: Kill, at: int, is_after: bool, after: str | None
) -> None:
    async with broker.open(path, clock=clock) as b:
        with kill.at_write(at, is_after):
            await register(b, after)


async def asked(path: Path, clock: FakeClock, kill: Kill, is_after: bool) -> None:
    async with broker.open(path, clock=clock) as b:
        with kill.at_write(1, is_after):
            await key(b, "old")


def kill_comes(before: str | None, after: str | None, at: int) -> bool:
    """How many writes a registration comes to: its chain's, and the end of the one before."""
    return at <= (after is not None) + (before is not None) - 2 * (before == after)


async def test_killed_while_a_new_month_is_written(
    path: Path, clock: FakeClock, kill: Kill
) -> None:
    for is_after in (False, True):
        month = "2024-03" if not is_after else "2024-05"
        async with broker.open(path, clock=clock) as b:
            await register(b, "old")
        clock.ms += 62 * 24 * 3_600_000
        with pytest.raises(Killed):
            await asked(path, clock, kill, is_after)
        async with broker.open(path, clock=clock) as b:
            assert await key(b, "old") == expected("old", month)
        assert len(chain_ids(path)) == 2


async def test_keys_of_devices_are_told_apart(opened: Broker, path: Path) -> None:
    """An id may look like anything, that of a chain's key too."""
    for id_ in ("d:e", ":", ":key:2024-01:x:y", "2024-01"):
        await register(opened, "old", id_)
        assert await key(opened, "old", id_) == expected("old")
        await opened.push.remove(opened.default_app(), device=id_)
        assert _all_ids(path) == set(), id_
    assert key_ids(path) == set()
