"""From a publish to what a phone reads: broker, outbox, transport and gateway, all real."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import trio

import broker
from api.push.transports import Transports
from broker import Broker, randomness
from broker.push.events import Selector
from broker.push.month_keys import Encryption
from broker.push.service import DeviceSpec
from tests.api.push import rig
from tests.api.push.http_gateway import json_reply
from tests.api.push.pushers import APP_ID, at_base, encrypted, plain
from tests.api.push.rig import Matrix, Now
from tests.broker.push.gematik_client import Phone

COUNT = 120
STUCK_S = 30
CLIENT = "@user"
TEXT = {"notification": {"title": "T"}, "data": {"n": 1}}


def phone(number: int) -> Phone:
    return Phone(bytes([number]) * 32, "2026-06")


@pytest.fixture
async def opened(tmp_path: Path, now: Now, matrix: Matrix) -> AsyncIterator[Broker]:
    now.ms = noon("2026-09")
    async with (
        rig.built(matrix.settings, tmp_path, now) as transports,
        served(tmp_path, now, transports) as b,
    ):
        yield b


def served(tmp_path: Path, now: Now, transports: Transports) -> Any:
    return broker.open(tmp_path / "data", clock=now, transports=transports.by_type)


def noon(month: str) -> int:
    return int(datetime.fromisoformat(f"{month}-15T12:00:00+00:00").timestamp() * 1_000)


async def register(b: Broker, matrix: Matrix, number: int) -> None:
    named = f"key-{number}"
    recipient = encrypted(matrix, pushkey=f"push-{number}", encryption={"keyIdentifier": named})
    matrix.fake.phones[named] = phone(number)
    spec = DeviceSpec(
        id=f"d-{number}",
        platform="ios",
        form_factor="phone",
        recipient=recipient,
        client_id=CLIENT,
        api="matrix",
    )
    encryption = Encryption(phone(number).iss, phone(number).month, named)
    await b.push.register(b.default_app(), spec, encryption=encryption)


async def notify(b: Broker, payload: dict[str, Any] = TEXT) -> None:
    await b.push.publish(b.default_app(), Selector(client_id=CLIENT), payload)


async def test_many_phones_read_it_month_after_month(
    opened: Broker, matrix: Matrix, now: Now
) -> None:
    for number in range(COUNT):
        await register(opened, matrix, number)
    with trio.fail_after(STUCK_S):
        for round_, month in enumerate(("2026-09", "2026-10", "2027-02")):
            now.ms = noon(month)
            matrix.fake.delivered.clear()
            matrix.fake.batches.clear()
            await notify(opened, {"matrix": {"content": {"round": round_}}})
            await matrix.fake.until(COUNT)
            assert {one["time_message_encrypted"] for one in matrix.fake.delivered} == {month}
            assert len({one["device"]["pushkey"] for one in matrix.fake.delivered}) == COUNT
            assert matrix.fake.texts[-COUNT:] == [{"round": round_}] * COUNT
            assert len(matrix.fake.batches) < COUNT / 2


async def test_after_a_restart_the_chain_goes_on(tmp_path: Path, now: Now, matrix: Matrix) -> None:
    now.ms = noon("2026-09")
    async with rig.built(matrix.settings, tmp_path, now) as transports:
        async with served(tmp_path, now, transports) as b:
            await register(b, matrix, 7)
        now.ms = noon("2026-11")
        with trio.fail_after(STUCK_S):
            async with served(tmp_path, now, transports) as b:
                await notify(b)
                await matrix.fake.until(1)
    assert matrix.fake.texts == [{"title": "T", "data": {"n": 1}}]
    assert matrix.fake.delivered[0]["time_message_encrypted"] == "2026-11"


class Ticking(Now):
    """Each look at it takes a moment."""

    def __call__(self) -> int:
        self.ms += 1
        return self.ms


async def test_what_fails_is_tried_again_with_the_same_id(
    tmp_path: Path, matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(randomness, "jitter", lambda: 0)
    spec = DeviceSpec(
        id="d",
        platform="ios",
        form_factor="phone",
        recipient=plain(matrix),
        client_id=CLIENT,
        api="matrix",
    )
    matrix.fake.script.then(json_reply(503, {}))
    now = Ticking()
    async with (
        rig.built(matrix.settings, tmp_path, now) as transports,
        served(tmp_path, now, transports) as b,
    ):
        await b.push.register(b.default_app(), spec)
        with trio.fail_after(STUCK_S):
            await notify(b)
            await matrix.fake.until(1)
    assert len(matrix.gateway.requests) == 2
    assert matrix.gateway.requests[0].body == matrix.gateway.requests[1].body


async def test_an_address_of_its_own(opened: Broker, matrix: Matrix) -> None:
    """A notification may name a pusher itself; one with encryption has no key, so it gets none."""
    for recipient in (at_base(matrix), encrypted(matrix)):
        await opened.push.publish(opened.default_app(), Selector(recipient=recipient), TEXT)
    with trio.fail_after(STUCK_S):
        await matrix.fake.until(1)
        while await opened.outbox.unfinished(1):
            await trio.testing.wait_all_tasks_blocked()
    assert [one["devices"][0]["app_id"] for one in matrix.fake.delivered] == [APP_ID]
    assert matrix.fake.texts == []
