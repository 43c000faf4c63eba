"""Devices registered, changed and reported on, and what of that the log remembers."""

from typing import Any

import msgspec
import pytest

from broker import Broker, NotFound
from broker.push.events import Device
from broker.push.registration import IDENTITY, PatchDevice, ReportDevice
from tests.broker.conftest import START_MS, FakeClock
from tests.broker.push.registered import address, ids, records, registered, spec

ERROR = {"code": 103005, "message": "dead", "statusCode": 400}


async def device(b: Broker, app: str, id_: str = "d") -> Device:
    found = b.push.device(app, id_)
    assert found is not None
    return found


async def report(b: Broker, app: str, rev: int, state: str, failures: int, **of: Any) -> int:
    """How many events it came to."""
    command = ReportDevice(app, of.pop("id", "d"), rev, state, failures, **of)
    return len((await b.submit(command, app=app)).serials)


async def test_a_new_device(opened: Broker) -> None:
    app = opened.default_app()
    given = spec(client_id="me", metadata={"a": [1]}, secret="s3cret", form_factor="tv")
    made = await opened.push.register(app, given)
    assert made == await device(opened, app)
    assert (made.id, made.platform, made.form_factor, made.transport) == ("d", "ios", "tv", "apns")
    assert (made.client_id, made.metadata) == ("me", {"a": [1]})
    assert (made.rev, made.state, made.failures, made.error) == (1, "ACTIVE", 0, None)
    assert made.created_ms == made.modified_ms == made.updated_ms
    assert made.created_ms == pytest.approx(START_MS, abs=1_000)
    assert made.token_id
    assert made.update_token
    assert made.token_id != made.update_token
    assert opened.push.recipient(app, made) == address("of d")
    assert opened.push.secret(app, made) == "s3cret"


async def test_a_device_is_of_one_app(opened: Broker) -> None:
    app, other = opened.default_app(), (await opened.apps.create()).id
    (made,) = await registered(opened, app, "d")
    assert opened.push.device(other, "d") is None
    await registered(opened, other, "d", client_id="another")
    assert await device(opened, app) == made
    assert opened.push.recipient(other, made) == {}, "it has a key of its own there"
    await opened.push.remove(other)
    assert await device(opened, app) == made
    assert opened.push.recipient(app, made) == address("of d")


async def test_a_device_of_no_app_is_refused(opened: Broker) -> None:
    with pytest.raises(NotFound):
        await opened.push.register("none", spec())


async def test_a_device_is_replaced_whole(opened: Broker, clock: FakeClock) -> None:
    app = opened.default_app()
    (before,) = await registered(
        opened, app, "d", client_id="me", metadata={"a": 1}, secret="s3cret"
    )
    await report(opened, app, 1, "FAILED", 3, error=ERROR)
    clock.advance(1_000)
    (after,) = await registered(opened, app, "d", platform="android", recipient=address("new"))
    assert after == await device(opened, app)
    assert (after.platform, after.client_id, after.metadata) == ("android", None, None)
    assert opened.push.secret(app, after) is None
    assert opened.push.recipient(app, after) == address("new")
    assert (after.state, after.failures, after.error) == ("ACTIVE", 0, None)
    assert (after.rev, after.created_ms) == (2, before.created_ms)
    assert after.modified_ms == after.updated_ms == before.updated_ms + 1_000
    assert after.token_id != before.token_id, "tokens that it had are void"
    assert await ids(opened, app, client="me") == set()


async def test_a_device_that_is_put_stays_who_it_is(opened: Broker) -> None:
    """Whoever says what it is like does not tell it of a new identity."""
    app = opened.default_app()
    first = await opened.push.register(app, spec(), keep=IDENTITY)
    assert first.token_id
    assert first.update_token
    again = await opened.push.register(app, spec(platform="android"), keep=IDENTITY)
    assert (again.token_id, again.update_token) == (first.token_id, first.update_token)
    assert (again.platform, again.rev) == ("android", 2)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"metadata": {"b": 2}}, {"metadata": {"b": 2}}),
        ({"metadata": None}, {"metadata": None}),
        ({"client_id": "you"}, {"client_id": "you"}),
        ({"client_id": None}, {"client_id": None}),
        ({"update_token": "t"}, {"update_token": "t"}),
        ({}, {}),
    ],
)
async def test_what_is_not_named_stays(
    opened: Broker, clock: FakeClock, change: dict[str, Any], expected: dict[str, Any]
) -> None:
    app = opened.default_app()
    await registered(opened, app, "d", client_id="me", metadata={"a": 1}, secret="s3cret")
    await report(opened, app, 1, "FAILING", 3, error=ERROR)
    before = await device(opened, app)
    clock.advance(1_000)
    after = await opened.push.patch(app, "d", **change)
    changed = {"modified_ms": before.modified_ms + 1_000, **expected}
    assert after == await device(opened, app) == msgspec.structs.replace(before, **changed)
    assert opened.push.recipient(app, after) == address("of d")
    whose = expected.get("client_id", "me")
    for client in ("me", "you"):
        assert await ids(opened, app, client=client) == ({"d"} if client == whose else set())


async def test_a_new_address_is_a_new_beginning(opened: Broker, clock: FakeClock) -> None:
    app = opened.default_app()
    await registered(opened, app, "d", client_id="me", secret="s3cret")
    await report(opened, app, 1, "FAILED", 3, error=ERROR)
    before = await device(opened, app)
    clock.advance(1_000)
    new = {"transportType": "fcm", "registrationToken": "t"}
    after = await opened.push.patch(app, "d", recipient=new)
    assert opened.push.recipient(app, after) == new
    assert opened.push.secret(app, after) == "s3cret"
    assert (after.transport, after.rev, after.updated_ms) == ("fcm", 2, before.updated_ms + 1_000)
    assert (after.state, after.failures, after.error) == ("ACTIVE", 0, None)
    assert (after.client_id, after.token_id) == ("me", before.token_id)


async def test_a_device_that_is_not_there_is_not_changed(opened: Broker) -> None:
    app = opened.default_app()
    with pytest.raises(NotFound) as refused:
        await opened.push.patch(app, "d", metadata={})
    assert refused.value.code == 40400
    with pytest.raises(NotFound):  # removed since it was looked for
        await opened.submit(PatchDevice(app, "d", metadata={}), app=app)
    assert await records(opened, app) == []


async def test_a_report_is_of_one_address(opened: Broker) -> None:
    app = opened.default_app()
    await registered(opened, app, "d")
    assert await report(opened, app, 1, "ACTIVE", 1) == 1
    assert await report(opened, app, 1, "ACTIVE", 1) == 0, "nothing new"
    await opened.push.patch(app, "d", recipient=address("new"))
    before = await device(opened, app)
    assert await report(opened, app, 1, "FAILED", 9, error=ERROR) == 0
    assert await device(opened, app) == before
    assert await report(opened, app, 2, "FAILED", 9, error=ERROR) == 1
    expected = msgspec.structs.replace(before, state="FAILED", failures=9, error=ERROR)
    assert await device(opened, app) == expected, "it is not what its owner changed"
    assert await report(opened, app, 1, "FAILED", 9, id="gone") == 0


async def test_events_are_whole_and_few(opened: Broker) -> None:
    """One for each change: what a device was at any time can be read off the log."""
    app = opened.default_app()
    (made,) = await registered(opened, app, "d")
    changed = await opened.push.patch(app, "d", metadata={"a": 1})
    await opened.push.remove(app, device="d")
    await opened.push.remove(app, device="d")
    events = [record.event for record in await records(opened, app)]
    assert [getattr(event, "device", None) for event in events] == [made, changed, "d"]
