"""`[meta]log:push`: what did not arrive, told to those who look, and nothing that is secret."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import broker
from broker.channels import channel_name, meta
from broker.event import Kind
from broker.push.reports import LOG, Reports
from broker.push.transport import TOKEN_INVALID, Result, Verdict
from tests.broker.acting import Acting
from tests.broker.conftest import FakeClock
from tests.broker.push.registered import address, registered

DEAD = Result(verdict=Verdict.DEAD, code=TOKEN_INVALID, message="Unregistered")
TOKEN = "the token of a device"


@pytest.fixture
async def acting(path: Path, clock: FakeClock) -> AsyncIterator[Acting]:
    async with broker.open(path, clock=clock) as b:
        yield Acting(b)


async def told(acting: Acting, log: str = LOG) -> list[dict[str, Any]]:
    await acting.settled()
    channel = meta.log_key(acting.app, log).channel
    messages = [event.message for event in await acting.events(Kind.EPHEMERAL, channel)]
    assert all((m.name, m.encoding) == ("push", "json") for m in messages)
    return [msgspec.json.decode(message.data) for message in messages]


async def test_what_became_of_a_notification(acting: Acting) -> None:
    (device,) = await registered(
        acting.broker, acting.app, "d", recipient=address(TOKEN), client_id="me"
    )
    reports = Reports(acting.broker.epoch.app_log)
    reports.failed(acting.app, "serial@x", device, DEAD)
    reports.failed(acting.app, "another", None, DEAD)
    of_device, of_address = await told(acting)
    assert of_device == {
        "code": TOKEN_INVALID,
        "message": "Unregistered",
        "verdict": "dead",
        "publish": "serial@x",
        "deviceId": "d",
        "transport": "apns",
        "state": "ACTIVE",
    }
    assert of_address == {
        key: of_device[key] for key in ("code", "message", "verdict")
    } | {"publish": "another"}  # fmt: skip
    assert await told(acting, meta.LOG) == [], "it is a log of its own"


async def test_a_report_holds_no_address(acting: Acting) -> None:
    (device,) = await registered(acting.broker, acting.app, "d", recipient=address(TOKEN))
    Reports(acting.broker.epoch.app_log).failed(acting.app, "p", device, DEAD)
    await acting.settled()
    channel = meta.log_key(acting.app, LOG).channel
    for record in await acting.records(Kind.EPHEMERAL, channel):
        assert TOKEN.encode() not in msgspec.msgpack.encode(record.event)


async def test_whoever_attaches_to_the_metachannel_is_told(acting: Acting) -> None:
    name = channel_name.parse("[meta]log:push")
    key, kinds = meta.followed(acting.app, name)
    Reports(acting.broker.epoch.app_log).failed(acting.app, "p", None, DEAD)
    assert len(await told(acting)) == 1
    assert (key, kinds) == (meta.log_key(acting.app, LOG), (Kind.EPHEMERAL,))


async def test_reports_are_bounded(acting: Acting) -> None:
    """A page of dead devices must not fill the disk."""
    reports, log = Reports(acting.broker.epoch.app_log), acting.broker.epoch.app_log
    bound = acting.broker.settings.app_log_reports_max
    for _ in range(bound + 5):
        reports.failed(acting.app, "p", None, DEAD)
    assert len(await told(acting)) == bound
    assert log.left_out == 5
