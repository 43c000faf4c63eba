"""Apps, keys and namespaces through the façade: what they permit, and that nothing is forgotten."""

from pathlib import Path
from typing import Any

import pytest

import broker
from broker import BadRequest, Broker, Message, NotFound, Unauthorized, Unavailable
from broker.auth.credentials import Key, Principal, authenticate_key
from broker.messages import serials
from broker.tenancy import NamespaceRules
from tests.broker.conftest import FakeClock


def everything(b: Broker) -> dict[str, Any]:
    """What tenancy says, in plain values."""
    return {
        app.id: (
            app,
            sorted((key.string, str(key.capability), key.revoked) for key in b.apps.keys(app.id)),
            b.apps.namespaces(app.id),
        )
        for app in b.apps.list()
    }


def principal_of(b: Broker, key: Key) -> Principal:
    return authenticate_key(b.apps, key.string)


async def test_an_empty_directory_gets_one_app_with_a_root_key(opened: Broker) -> None:
    (app,) = opened.apps.list()
    (key,) = opened.apps.keys(app.id)
    assert opened.default_app() == app.id
    principal = principal_of(opened, key)
    await opened.publish(principal, "anything", (Message(data="x"),))
    principal.require("history", "[meta]log")


async def test_reopening_makes_no_second_app(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        before = everything(b)
    async with broker.open(path, clock=clock) as b:
        assert everything(b) == before
        position = b.log.position
    async with broker.open(path, clock=clock, hold_connections=False) as b:
        assert b.log.position == position  # opening by itself appends nothing but its epoch


async def administer(b: Broker) -> None:
    """Some of everything, some of it taken back."""
    await b.apps.create("shop", name="The shop")
    await b.apps.create("gone")
    await b.apps.create_key("shop", granted='{"a:*":["publish","history"]}')
    revoked = await b.apps.create_key("shop", revocable_tokens=True)
    await b.apps.revoke_key("shop", revoked.key_id)
    await b.apps.ensure_key("shop.fixed:secret")
    await b.apps.set_namespace("shop", "a", NamespaceRules(identified=True))
    await b.apps.set_namespace("shop", "a", NamespaceRules(retention_ms=0))
    await b.apps.set_namespace("shop", "b", NamespaceRules(messages_max=3))
    await b.apps.remove_namespace("shop", "b")
    await b.apps.set_namespace("shop", "\U0001f600", NamespaceRules(bytes_max=3))
    await b.apps.delete("gone")


async def test_administration_survives_reopening_and_rebuilding(
    path: Path, clock: FakeClock
) -> None:
    async with broker.open(path, clock=clock) as b:
        await administer(b)
        before = everything(b)
        await b.rebuild()
        assert everything(b) == before
    async with broker.open(path, clock=clock) as b:
        assert everything(b) == before
    assert set(before) > {"shop"}
    assert "gone" not in before
    assert before["shop"][2] == {
        "a": NamespaceRules(retention_ms=0),
        "\U0001f600": NamespaceRules(bytes_max=3),
    }
    assert len(before["shop"][1]) == 4


async def test_a_key_permits_what_it_was_granted(opened: Broker) -> None:
    key = await opened.apps.create_key(
        opened.default_app(), granted='{"a:*":["publish"],"b":["history"]}'
    )
    principal = principal_of(opened, key)
    await opened.publish(principal, "a:1", (Message(data="x"),))
    await opened.history(principal, "b", broker.HistoryQuery())
    for refused in (
        opened.publish(principal, "b", (Message(data="x"),)),
        opened.publish(principal, "a", (Message(data="x"),)),
        opened.history(principal, "a:1", broker.HistoryQuery()),
    ):
        with pytest.raises(Unauthorized) as refusal:
            await refused
        assert refusal.value.code == 40160


async def test_a_revoked_key_is_refused_and_stays_so(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        key = await b.apps.create_key(b.default_app())
        principal_of(b, key)
        await b.apps.revoke_key(key.app_id, key.key_id)
        await b.apps.revoke_key(key.app_id, key.key_id)  # again is no error
    async with broker.open(path, clock=clock) as b:
        with pytest.raises(Unauthorized) as refusal:
            principal_of(b, key)
        assert refusal.value.code == 40131
        with pytest.raises(BadRequest):
            await b.apps.ensure_key(key.string)  # configuration does not bring it back


async def test_ensuring_a_key_is_idempotent(opened: Broker) -> None:
    text = "cfg.root:hunter2"
    first = await opened.apps.ensure_key(text)
    position = opened.log.position
    again = await opened.apps.ensure_key(text)
    assert first.string == again.string == text
    assert opened.log.position == position
    with pytest.raises(BadRequest):
        await opened.apps.ensure_key("cfg.root:another")


@pytest.mark.parametrize("name", ["", "a:b", "a*", "[x]", "n" * 129, "a\0b"])
async def test_bad_namespaces_are_refused(opened: Broker, name: str) -> None:
    with pytest.raises(BadRequest):
        await opened.apps.set_namespace(opened.default_app(), name, NamespaceRules())


@pytest.mark.parametrize("app", ["", "a.b", "a:b", "a/b", "ä", "x" * 65, "a\0"])
async def test_bad_app_ids_are_refused(opened: Broker, app: str) -> None:
    if app:
        with pytest.raises(BadRequest):
            await opened.apps.create(app)
    with pytest.raises((BadRequest, Unauthorized)):
        await opened.apps.ensure_key(f"{app}.key:secret")


async def test_what_does_not_exist_is_not_found(opened: Broker) -> None:
    apps, app = opened.apps, opened.default_app()
    for refused in (
        apps.delete("none"),
        apps.create_key("none"),
        apps.revoke_key(app, "none"),
        apps.set_namespace("none", "a", NamespaceRules()),
        apps.remove_namespace(app, "none"),
        opened.purge("none"),
        opened.purge(app, channel="none"),
    ):
        with pytest.raises(NotFound) as refusal:
            await refused
        assert (refusal.value.code, refusal.value.status) == (40400, 404)
    with pytest.raises(BadRequest):
        await apps.create(app)


async def test_an_identified_namespace_refuses_the_unidentified(opened: Broker) -> None:
    await opened.apps.set_namespace(opened.default_app(), "chat", NamespaceRules(identified=True))
    for name in ("chat", "chat:room"):
        with pytest.raises(Unauthorized) as refusal:
            await opened.channel(name).publish(data="who am I")
        assert (refusal.value.code, refusal.value.status) == (40161, 401)
        await opened.channel(name).publish(data="me", client_id="me")
    await opened.channel("chatter").publish(data="another namespace")


async def test_apps_do_not_see_each_other(opened: Broker) -> None:
    await opened.apps.create("other")
    await opened.channel("c").publish(data="mine")
    await opened.channel("c", app="other").publish(data="theirs")
    async with opened.channel("c", app="other").subscribe(rewind=10) as messages:
        assert (await anext(messages)).data == "theirs"
    (message,) = (await opened.channel("c").history()).messages
    assert message.data == "mine"


async def test_an_app_that_does_not_exist_takes_no_messages(opened: Broker) -> None:
    await opened.apps.create("gone")
    channel = opened.channel("c", app="gone")
    await channel.publish(data="x")
    await opened.apps.delete("gone")
    with pytest.raises(NotFound):
        await channel.publish(data="y")
    with pytest.raises(NotFound):
        opened.channel("c", app="never")


async def test_a_deleted_app_leaves_nothing_behind(opened: Broker) -> None:
    """Apps.delete: "then remove what its channels hold"; an app of that id may come again."""
    app = await opened.apps.create("gone")
    await opened.apps.set_namespace(app.id, "a", NamespaceRules(identified=True))
    await opened.channel("c", app=app.id).publish(data="x", id="i")
    await opened.apps.delete(app.id)
    await opened.apps.create(app.id, with_root_key=False)
    assert opened.apps.keys(app.id) == []
    assert opened.apps.namespaces(app.id) == {}
    assert (await opened.channel("c", app=app.id).history()).messages == ()
    assert not (await opened.channel("c", app=app.id).publish(data="y", id="i")).duplicate


async def test_the_default_app_is_the_oldest_even_within_a_millisecond(opened: Broker) -> None:
    oldest = opened.default_app()
    for app in ("0", "Z", "z", "zzzzzzzz"):
        await opened.apps.create(app)
        assert opened.default_app() == oldest


async def test_two_brokers_in_one_process(tmp_path: Path, clock: FakeClock) -> None:
    async with (
        broker.open(tmp_path / "1", clock=clock) as one,
        broker.open(tmp_path / "2", clock=clock) as two,
        two.channel("c").subscribe() as messages,
    ):
        first = await one.channel("c").publish(data="one", id="same")
        second = await two.channel("c").publish(data="two", id="same")
        assert not second.duplicate
        assert (await anext(messages)).data == "two"
        assert first.serials[0]
        with pytest.raises(BadRequest):
            serials.parse(first.serials[0], two.series)


async def test_a_directory_has_one_broker(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        with pytest.raises(Unavailable, match="open in another process") as refusal:
            async with broker.open(path, clock=clock):
                pass
        assert (refusal.value.code, refusal.value.status) == (50003, 503)
        await b.channel("c").publish(data="undisturbed")
    async with broker.open(path, clock=clock) as b:
        assert len((await b.channel("c").history()).messages) == 1
