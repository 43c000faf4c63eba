"""Removing a device makes what the log has of it unreadable, whatever happens on the way."""

import os
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import broker
from broker import Broker, BrokerError
from broker.errors import Overloaded
from broker.push.key_ids import key_id
from broker.push.registration import AddressTaken, OnTaken
from broker.settings import BrokerSettings
from storage import LogSettings
from storage.keyfile import NAME, KeyFile
from tests.broker.acting import writer_held
from tests.broker.conftest import FakeClock
from tests.broker.push.registered import address, ids, on_disk, registered, spec

SECRET = "the secret of a device"
TOKEN = "the token of a device"
SEED = int(os.environ.get("TIDELOG_SEED", random.randrange(1 << 32)))
ROUNDS = 15


def key_ids(path: Path) -> set[str]:
    """Of devices: what the file says, not who has it open."""
    copy = path.with_name("copy")
    copy.mkdir(exist_ok=True)
    shutil.copyfile(path / NAME, copy / NAME)
    keys = KeyFile(copy)
    keys.close()
    return {id_ for id_ in keys.ids() if not id_.startswith(":")}


async def test_nothing_on_disk_tells_an_address(opened: Broker, path: Path) -> None:
    app = opened.default_app()
    await registered(opened, app, "d", recipient=address(TOKEN), secret=SECRET)
    await opened.push.patch(app, "d", recipient=address(f"another, and {TOKEN}"))
    everything = on_disk(path)
    assert TOKEN.encode() not in everything
    assert SECRET.encode() not in everything
    assert key_id(app, "d").encode() in everything


async def test_an_old_log_says_nothing_of_a_removed_device(path: Path, clock: FakeClock) -> None:
    """A copy of the log from before, with the key file as it is now."""
    async with broker.open(path, clock=clock) as b:
        app = b.default_app()
        await registered(b, app, "d", "e", secret=SECRET)
    old = path.with_name("old")
    shutil.copytree(path, old)
    async with broker.open(path, clock=clock) as b:
        await b.push.remove(app, device="d")
    shutil.copyfile(path / NAME, old / NAME)
    async with broker.open(old, clock=clock) as b:
        gone, there = b.push.device(app, "d"), b.push.device(app, "e")
        assert gone
        assert there
        assert b.push.recipient(app, gone) == {}
        assert b.push.secret(app, gone) is None
        assert b.push.recipient(app, there) == address("of e")
        assert b.push.secret(app, there) == SECRET


async def test_removing_leaves_the_keys_of_others(opened: Broker, path: Path) -> None:
    app, other = opened.default_app(), (await opened.apps.create()).id
    for of in (app, other):
        await registered(opened, of, "d", "e", client_id="me")
        await registered(opened, of, "f")
    everything = {key_id(of, id_) for of in (app, other) for id_ in "def"}
    assert key_ids(path) == everything
    await opened.push.remove(app, device="d")
    assert key_ids(path) == everything - {key_id(app, "d")}
    await opened.push.remove(app, client="me")
    assert key_ids(path) == everything - {key_id(app, "d"), key_id(app, "e")}
    await opened.push.remove(app)
    assert key_ids(path) == {key_id(other, id_) for id_ in "def"}


async def test_who_hangs_up_leaves_no_key_behind(opened: Broker, path: Path) -> None:
    app = opened.default_app()
    await registered(opened, app, "d", "e", client_id="me")
    with trio.CancelScope() as scope:
        scope.cancel()
        await opened.push.remove(app, device="d")
    assert await ids(opened, app) == {"e"}
    assert key_ids(path) == {key_id(app, "e")}


async def test_who_hangs_up_while_refused_leaves_no_key_behind(opened: Broker, path: Path) -> None:
    app = opened.default_app()
    await opened.push.register(app, spec("d", address="one"))
    scope = trio.CancelScope()

    async def register() -> None:
        with scope, suppress(AddressTaken):
            await opened.push.register(app, spec("e", address="one"), on_taken=OnTaken.REFUSE)

    async with trio.open_nursery() as nursery, writer_held(opened.log):
        nursery.start_soon(register)
        while key_id(app, "e") not in key_ids(path):
            await wait_all_tasks_blocked()
        scope.cancel()
    assert await ids(opened, app) == {"d"}
    assert key_ids(path) == {key_id(app, "d")}


async def test_who_is_turned_away_leaves_no_key_behind(path: Path, clock: FakeClock) -> None:
    """One command fills the writer's queue."""
    settings = BrokerSettings(log=LogSettings(queue_commands_max=1))
    async with (
        broker.open(path, clock=clock, settings=settings) as b,
        trio.open_nursery() as nursery,
        writer_held(b.log),
    ):
        app = b.default_app()
        nursery.start_soon(b.push.register, app, spec("d"))
        while key_id(app, "d") not in key_ids(path):
            await wait_all_tasks_blocked()
        with pytest.raises(Overloaded):
            await b.push.register(app, spec("e"))
        assert key_ids(path) == {key_id(app, "d")}


async def test_a_key_file_that_cannot_be_written(opened: Broker, path: Path) -> None:
    """It is said, and asking again destroys the key of a device that is gone already."""
    app = opened.default_app()
    await registered(opened, app, "d")
    in_the_way = path / f"{NAME}.new"
    in_the_way.mkdir()
    for _ in range(2):
        with pytest.raises(BrokerError, match="key file"):
            await opened.push.remove(app, device="d")
    assert key_ids(path) == {key_id(app, "d")}
    in_the_way.rmdir()
    await opened.push.remove(app, device="d")
    assert key_ids(path) == set()


async def test_keys_that_a_crash_left_go_when_the_broker_starts(
    path: Path, clock: FakeClock
) -> None:
    """It was killed between a key and its device, or between a device's removal and its key's."""
    async with broker.open(path, clock=clock) as b:
        app = b.default_app()
        await registered(b, app, "d")
    keys = KeyFile(path)
    strangers = {key_id(app, "gone"): b"k" * 32, key_id("gone", "d"): b"k" * 32}
    keys.create(strangers)
    keys.close()
    async with broker.open(path, clock=clock, hold_connections=False):
        assert key_ids(path) == {key_id(app, "d"), *strangers}, "a look changes nothing"
    async with broker.open(path, clock=clock):
        assert key_ids(path) == {key_id(app, "d")}


@pytest.mark.parametrize("holds", [True, False])
async def test_with_an_app_go_the_keys_of_its_devices(
    path: Path, clock: FakeClock, holds: bool
) -> None:
    """Whether a broker serves, or somebody manages a data directory at rest."""
    async with broker.open(path, clock=clock) as b:
        app, other = b.default_app(), (await b.apps.create()).id
        for of in (app, other):
            await registered(b, of, "d", "e")
    async with broker.open(path, clock=clock, hold_connections=holds) as b:
        await b.apps.delete(other)
        assert key_ids(path) == {key_id(app, "d"), key_id(app, "e")}
        assert b.push.device(other, "d") is None
        assert await ids(b, app) == {"d", "e"}


async def test_a_damaged_key_file_is_said_to_be(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        await registered(b, b.default_app(), "d", "e")
    whole = bytearray((path / NAME).read_bytes())
    whole[9] ^= 1
    (path / NAME).write_bytes(whole)
    with pytest.raises(BrokerError, match="key file is damaged"):
        async with broker.open(path, clock=clock):
            pass
    assert (path / NAME).read_bytes() == whole


async def test_registered_and_removed_at_once(opened: Broker, path: Path) -> None:
    """Whichever comes last: a device that is there can be reached, one that is not has no key."""
    print(f"TIDELOG_SEED={SEED}")
    choices, app = random.Random(SEED), opened.default_app()
    for number in range(ROUNDS):
        async with trio.open_nursery() as nursery:
            for _ in range(choices.randint(2, 8)):
                if choices.random() < 0.5:
                    nursery.start_soon(opened.push.register, app, spec(client_id="me"))
                else:
                    nursery.start_soon(_remove, opened, app, choices.random() < 0.5)
        device = opened.push.device(app, "d")
        if device is None:
            assert key_ids(path) == set(), number
        else:
            assert opened.push.recipient(app, device) == address("of d"), number


async def _remove(b: Broker, app: str, by_client: bool) -> None:
    await b.push.remove(app, **({"client": "me"} if by_client else {"device": "d"}))
