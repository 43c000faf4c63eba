"""Instances of Beams: made, looked up, declared again, removed; and gone with their app."""

import re
from pathlib import Path

import pytest

import broker
from broker import BadRequest, Broker, NotFound
from broker.beams.instances import Instance
from broker.push.events import BEAMS
from broker.push.service import DeviceSpec
from tests.broker.conftest import FakeClock

ID = "8f9a6e22-2483-49aa-8552-125f1a4c5781"
OTHER = "00000000-2483-49aa-8552-125f1a4c5781"


async def register(b: Broker, app: str, id_: str, api: str) -> None:
    recipient = {"transportType": "fcm", "registrationToken": id_}
    spec = DeviceSpec(id=id_, platform="android", form_factor="phone", recipient=recipient, api=api)
    await b.push.register(app, spec)


async def test_a_new_one_is_found_by_its_id_in_any_case(opened: Broker) -> None:
    app = opened.default_app()
    made = await opened.beams.create(app)
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made.id
    )
    assert re.fullmatch(r"[0-9A-F]{64}", made.secret)
    assert opened.beams.instance(made.id.upper()) == made == opened.beams.instance_of(app)
    assert opened.beams.list() == [made]
    assert made.secret not in repr(made)
    assert opened.beams.instance(OTHER) is None


async def test_an_app_has_one(opened: Broker) -> None:
    app = opened.default_app()
    made = await opened.beams.create(app)
    with pytest.raises(BadRequest, match=made.id):
        await opened.beams.create(app)
    await opened.apps.create("second")
    assert (await opened.beams.create("second")).id != made.id


async def test_what_is_declared_again_changes_nothing(opened: Broker) -> None:
    app = opened.default_app()
    first = await opened.beams.ensure(app, ID.upper(), "hush")
    position = opened.log.position
    assert await opened.beams.ensure(app, ID, "hush") == first == Instance(app, ID, "hush")
    assert opened.log.position == position
    with pytest.raises(BadRequest, match="exists already, with another app or secret"):
        await opened.beams.ensure(app, ID, "other")
    with pytest.raises(BadRequest, match="has a Beams instance already"):
        await opened.beams.ensure(app, OTHER, "hush")


@pytest.mark.parametrize(
    ("id_", "secret", "said"),
    [
        ("x", "s", "must be a UUID"),
        (ID + "\n", "s", "must be a UUID"),
        (ID.replace("-", ""), "s", "must be a UUID"),
        (ID, "", "1 to 256 visible"),
        (ID, "a b", "1 to 256 visible"),
        (ID, "é", "1 to 256 visible"),
        (ID, "s" * 257, "1 to 256 visible"),
    ],
)
async def test_what_cannot_be_one_is_refused(
    opened: Broker, id_: str, secret: str, said: str
) -> None:
    with pytest.raises(BadRequest, match=said):
        await opened.beams.ensure(opened.default_app(), id_, secret)
    assert opened.beams.list() == []


async def test_an_app_that_is_not_there_has_none(opened: Broker) -> None:
    with pytest.raises(NotFound, match="there is no app 'nobody'"):
        await opened.beams.create("nobody")
    with pytest.raises(NotFound, match="there is no Beams instance"):
        await opened.beams.remove(ID)


async def test_removing_takes_the_devices_of_beams_along_and_no_others(opened: Broker) -> None:
    app = opened.default_app()
    made = await opened.beams.create(app)
    await register(opened, app, "fcm-1", BEAMS)
    await register(opened, app, "ably", "ably")
    await opened.beams.remove(made.id.upper())
    assert opened.beams.list() == []
    assert opened.push.device(app, "fcm-1", api=None) is None
    assert opened.push.device(app, "ably") is not None


async def test_a_new_one_begins_without_what_a_crash_left(opened: Broker) -> None:
    app = opened.default_app()
    await register(opened, app, "fcm-1", BEAMS)
    await opened.beams.create(app)
    assert opened.push.device(app, "fcm-1", api=None) is None


async def test_it_goes_with_its_app(opened: Broker) -> None:
    await opened.apps.create("second")
    kept = await opened.beams.create(opened.default_app())
    gone = await opened.beams.create("second")
    await opened.apps.delete("second")
    assert opened.beams.instance(gone.id) is None
    assert opened.beams.instance_of("second") is None
    assert opened.beams.list() == [kept]


async def test_they_are_there_after_a_restart_and_a_rebuild(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        await b.apps.create("second")
        removed = await b.beams.create("second")
        await b.beams.remove(removed.id)
        made = await b.beams.create(b.default_app())
    async with broker.open(path, clock=clock) as b:
        assert b.beams.list() == [made]
        await b.rebuild()
        assert b.beams.list() == [made]
