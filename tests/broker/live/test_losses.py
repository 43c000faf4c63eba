"""A log that went back in time tells clients of the time that it lost, and only those."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import broker
from broker import Broker, offline
from broker.channels.channel_name import parse
from broker.channels.modes import DEFAULT
from broker.events import BrokerStarted
from broker.live.attach_point import AttachPoint
from broker.live.connection_log import BROKER
from storage import LogSettings
from tests.broker.conftest import FakeClock

SETTINGS = LogSettings()
LOST = "the broker was restored to a time before the channelSerial"


def attach(b: Broker, serial: str) -> AttachPoint:
    return b.epoch.attach_points.find(b.default_app(), parse("c"), DEFAULT, serial=serial)[1]


async def published(b: Broker, name: str) -> str:
    (serial,) = (await b.channel("c").publish(name)).serials
    assert serial is not None
    return serial


def restored(path: Path, target: Path) -> None:
    offline.restore(path.with_name("backup"), target, SETTINGS)


def imported(path: Path, target: Path) -> None:
    lines = path.with_name("export").read_text().splitlines()
    offline.import_lines(target, lines, SETTINGS)


def put_back(path: Path, target: Path) -> None:
    """An older data file under the side file of a later one."""
    shutil.copytree(path, target)
    shutil.copy(path.with_name("backup") / "data.mdb", target / "data.mdb")


def keep(path: Path) -> None:
    offline.backup(path, path.with_name("backup"), SETTINGS)
    lines = [line for line, _ in offline.export(path, SETTINGS)]
    path.with_name("export").write_text("\n".join(lines))


@pytest.mark.parametrize("goes_back", [restored, imported, put_back])
async def test_who_saw_what_was_lost_is_told(
    path: Path, clock: FakeClock, goes_back: Callable[[Path, Path], None]
) -> None:
    async with broker.open(path, clock=clock) as b:
        kept = await published(b, "kept")
    await trio.to_thread.run_sync(keep, path)
    clock.advance(1)
    async with broker.open(path, clock=clock) as b:
        lost = [await published(b, name) for name in ("lost", "lost too")]
    target = path.with_name("again")
    await trio.to_thread.run_sync(goes_back, path, target)
    clock.advance(1)
    async with broker.open(target, clock=clock, accept_loss=True) as b:
        assert attach(b, kept).resumed
        for serial in lost:
            point = attach(b, serial)
            assert (point.resumed, point.missed, point.position) == (False, LOST, point.now)
        clock.advance(1)
        new = await published(b, "new")
        assert new not in lost
        assert attach(b, new).resumed
    async with broker.open(target, clock=clock) as b:  # it is known for good, and noted once
        assert [attach(b, serial).resumed for serial in (kept, *lost, new)] == [1, 0, 0, 1]
        page = await b.log.read(BROKER, limit=100)
    started = [r.event for r in page.records if isinstance(r.event, BrokerStarted)]
    assert [event.lost_behind is not None for event in started[-2:]] == [True, False]
    assert await trio.to_thread.run_sync(offline.verify, target, SETTINGS) == []


async def test_a_log_that_lost_nothing_says_so(path: Path, clock: FakeClock) -> None:
    for _ in range(2):
        async with broker.open(path, clock=clock) as b:
            page = await b.log.read(BROKER, limit=100)
    assert {record.event.lost_behind for record in page.records} == {None}
