"""Webhooks of an instance: added, replaced, removed; and gone with the instance or its app."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import broker
from broker import BadRequest, Broker, NotFound, offline
from broker.beams.webhooks import EVENTS, OPENED, WEBHOOKS_MAX, Webhook, declared_id
from storage import LogSettings
from tests.broker.conftest import FakeClock

ID = "8f9a6e22-2483-49aa-8552-125f1a4c5781"
URL = "https://hooks.example.com/beams"


@pytest.fixture
async def app(opened: Broker) -> str:
    await opened.beams.create(opened.default_app())
    return opened.default_app()


async def test_they_are_added_and_removed(opened: Broker, app: str) -> None:
    first = await opened.beams.add_webhook(app, URL)
    assert (first.url, first.events, first.custom_data) == (URL, EVENTS, {})
    assert len(first.secret) >= 32
    second = await opened.beams.add_webhook(app, URL, "s", (OPENED,), {"n": [1]})
    assert second.id != first.id
    assert {one.id: one for one in opened.beams.webhooks(app)} == {
        first.id: first,
        second.id: second,
    }
    assert "hooks.example" not in repr(first)
    await opened.beams.remove_webhook(app, first.id)
    assert opened.beams.webhooks(app) == [second]
    with pytest.raises(NotFound, match="there is no webhook"):
        await opened.beams.remove_webhook(app, first.id)


async def test_one_that_is_declared_again_changes_nothing(opened: Broker, app: str) -> None:
    instance = opened.beams.instance_of(app)
    assert instance is not None
    declared = Webhook(app, declared_id(instance.id, URL), URL, "s")
    await opened.beams.put_webhook(declared)
    position = opened.log.position
    await opened.beams.put_webhook(declared)
    assert opened.log.position == position
    changed = await opened.beams.put_webhook(replace(declared, secret="other"))
    assert opened.beams.webhooks(app) == [changed]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"url": ""}, "URL has 1 to"),
        ({"url": "u" * 4_097}, "URL has 1 to"),
        ({"secret": "s" * 257}, "secret has 1 to"),
        ({"events": ()}, "events are one or more of v1"),
        ({"events": ("v1.Nothing",)}, "events are one or more of v1"),
        ({"custom_data": {"a": "x" * 4_096}}, "custom data has at most"),
        ({"custom_data": {"a": 2**70}}, "custom data holds .* MessagePack cannot represent"),
        ({"custom_data": {"a": b""}}, "custom data holds .* JSON cannot represent"),
        ({"id": "x"}, "must be a UUID"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    opened: Broker, app: str, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadRequest, match=said):
        await opened.beams.put_webhook(replace(Webhook(app, ID, URL, "s"), **changed))
    assert opened.beams.webhooks(app) == []


async def test_an_instance_has_so_many(opened: Broker, app: str) -> None:
    for _ in range(WEBHOOKS_MAX):
        last = await opened.beams.add_webhook(app, URL)
    with pytest.raises(BadRequest, match="may have 20 webhooks"):
        await opened.beams.add_webhook(app, URL)
    await opened.beams.put_webhook(replace(last, secret="changed"))
    assert len(opened.beams.webhooks(app)) == WEBHOOKS_MAX


async def test_there_are_none_without_an_instance(opened: Broker, app: str) -> None:
    await opened.beams.add_webhook(app, URL)
    await opened.beams.remove(opened.beams.list()[0].id)
    assert opened.beams.webhooks(app) == []
    with pytest.raises(NotFound, match="has no Beams instance"):
        await opened.beams.add_webhook(app, URL)
    await opened.beams.create(app)
    assert opened.beams.webhooks(app) == []


async def test_they_go_with_their_app_and_stay_otherwise(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        await b.apps.create("second")
        for app in ("second", b.default_app()):
            await b.beams.create(app)
            kept = await b.beams.add_webhook(app, URL, custom_data={"a": app})
        await b.apps.delete("second")
    async with broker.open(path, clock=clock) as b:
        assert b.beams.webhooks(b.default_app()) == [kept]
        assert b.beams.webhooks("second") == []
        await b.rebuild()
        assert b.beams.webhooks(b.default_app()) == [kept]


@pytest.mark.parametrize("events", [EVENTS, (OPENED,)])
async def test_verify_finds_them_as_they_were_folded(
    path: Path, clock: FakeClock, events: tuple[str, ...]
) -> None:
    async with broker.open(path, clock=clock) as b:
        await b.beams.create(b.default_app())
        await b.beams.add_webhook(b.default_app(), URL, events=events)
    assert offline.verify(path, LogSettings()) == []
