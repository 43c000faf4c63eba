"""`[meta]log`: refusals told to those who look, bounded in rate."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import broker
from broker import Unauthorized
from broker.auth.credentials import NOT_PERMITTED
from broker.channels import meta
from broker.event import Kind
from broker.live.app_log import AppLog
from tests.broker.acting import Acting, Time
from tests.broker.conftest import FakeClock

REPORTS_MAX = 3
REFUSED = Unauthorized("not for you", NOT_PERMITTED)


@pytest.fixture
def time(clock: FakeClock) -> Time:
    return Time(clock)


@pytest.fixture
async def acting(path: Path, time: Time) -> AsyncIterator[Acting]:
    async with broker.open(path, clock=time.wall) as b:
        yield Acting(b)


def an_app_log(acting: Acting) -> AppLog:
    epoch = acting.broker.epoch
    return AppLog(epoch.timers, epoch.background, REPORTS_MAX)


async def reports(acting: Acting) -> list[dict[str, Any]]:
    await acting.settled()
    channel = meta.log_key(acting.app).channel
    events = await acting.events(Kind.EPHEMERAL, channel)
    return [msgspec.json.decode(event.message.data) for event in events]


async def test_what_was_refused_to_whom(acting: Acting) -> None:
    an_app_log(acting).refused(acting.app, REFUSED, connectionId="x", clientId=None, channel="c")
    (report,) = await reports(acting)
    assert report["error"]["code"] == NOT_PERMITTED
    assert report["error"]["statusCode"] == 401
    assert (report["connectionId"], report["channel"]) == ("x", "c")
    assert "clientId" not in report


async def test_so_many_in_a_second_and_app(acting: Acting, time: Time) -> None:
    log = an_app_log(acting)
    for _ in range(10):
        log.refused(acting.app, REFUSED)
    assert len(await reports(acting)) == REPORTS_MAX
    assert log.left_out == 10 - REPORTS_MAX
    other = Acting(acting.broker, (await acting.broker.apps.create()).id)
    log.refused(other.app, REFUSED)
    assert len(await reports(other)) == 1
    await time.passes(1_000, acting)
    log.refused(acting.app, REFUSED)
    assert len(await reports(acting)) == REPORTS_MAX + 1
    assert log.left_out == 10 - REPORTS_MAX


async def test_a_report_opens_no_channel(acting: Acting) -> None:
    an_app_log(acting).refused(acting.app, REFUSED)
    await reports(acting)
    assert await acting.events(Kind.LIFECYCLE, "") == []
