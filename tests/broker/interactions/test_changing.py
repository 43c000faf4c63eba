"""Changing a message: what is refused, what a repeat is, what several changes come to."""

from typing import Any

import msgspec
import pytest
import trio

from broker import Broker, BrokerError, BrokerSettings
from broker.administration import DeleteApp
from broker.auth.credentials import Principal
from broker.channels import lifecycle
from broker.event import Kind
from broker.events import MessageAppended, Operation
from broker.interactions.change import Change
from broker.interactions.state import APPEND, DELETE, UPDATE
from broker.live.idle_channels import CloseChannel
from broker.messages.message import Message, Version
from broker.messages.publishing import Origin
from broker.messages.serials import render
from broker.tenancy import NamespaceRules
from tests.broker.acting import Acting
from tests.broker.interactions.editing import MUTABLE, Editing

ACTIONS = [UPDATE, DELETE, APPEND]


async def refusal(asking: Any) -> tuple[int, int]:
    with pytest.raises(BrokerError) as caught:
        await asking
    return caught.value.status, caught.value.code


@pytest.mark.parametrize("action", ACTIONS)
async def test_where_messages_cannot_change(m: Editing, action: int) -> None:
    other = Editing(m.broker, "other")
    serial = await other.publish("x")
    assert await refusal(other.change(serial, action, data="y")) == (400, 93002)
    assert await other.history() == [(0, "x")]


@pytest.mark.parametrize("action", ACTIONS)
async def test_what_is_not_there(m: Editing, action: int) -> None:
    """A serial of no message, of another channel, of another log, of something else."""
    serial = await m.publish("x")
    elsewhere = await Editing(m.broker, "m:d").publish("x")
    version = await m.update(serial, "y")
    foreign = serial.replace(m.broker.series, "abcdefghij")
    later = render(m.number(version) + 5_000, m.broker.series)
    for wrong in (elsewhere, version, foreign, later, "nonsense"):
        assert await refusal(m.change(wrong, action, data="z")) == (404, 40400)
    assert await m.history() == [(1, "y")]


async def test_an_ephemeral_message_does_not_change(m: Editing) -> None:
    serial = await m.publish("x", extras={"ephemeral": True})
    assert await refusal(m.update(serial, "y")) == (404, 40400)


async def test_what_was_published_before_the_namespace_allowed_it(m: Editing) -> None:
    """It stays as it is; what was published while it could change cannot any more."""
    await m.broker.apps.set_namespace(m.app, "m", NamespaceRules())
    before = await m.publish("x")
    await m.prepare()
    assert await refusal(m.update(before, "y")) == (404, 40400)
    changeable = await m.publish("x")
    await m.prepare(NamespaceRules())
    assert await refusal(m.update(changeable, "y")) == (400, 93002)
    await m.prepare()
    await m.update(changeable, "y")


async def test_rules_are_judged_in_the_transaction(m: Editing) -> None:
    """A command that was prepared while they allowed it."""
    serial = await m.publish("x")
    origin = Origin("conn", 0, resent=False)
    with pytest.raises(BrokerError) as caught:
        await _with_rules_changed(m, origin, serial)
    assert caught.value.code == 93002


async def _with_rules_changed(m: Editing, origin: Origin, serial: str) -> None:
    change = Change(serial, UPDATE, Message(data="y"))
    command = m.broker.editor.prepare(m.principal, m.channel, change, origin)
    await m.prepare(NamespaceRules())
    await m.broker.submit(command, app=m.app)


async def test_a_deleted_app(m: Editing) -> None:
    serial = await m.publish("x")
    app, change = m.app, Change(serial, UPDATE, Message(data="y"))
    command = m.broker.editor.prepare(m.principal, m.channel, change)
    await m.broker.submit(DeleteApp(app), app=app)
    assert await refusal(m.broker.submit(command, app=app)) == (404, 40400)


@pytest.mark.parametrize("action", [UPDATE, APPEND])
async def test_a_message_that_grows_too_large(m: Editing, action: int) -> None:
    """What counts is the whole, and the client id of its publisher with it."""
    limit = BrokerSettings().message_bytes_max
    serial = await m.publish("x", client_id="me")
    room = limit - len("me") - (1 if action == APPEND else 0)
    assert await refusal(m.change(serial, action, data="y" * (room + 1))) == (413, 40009)
    await m.change(serial, action, data="y" * room)
    assert await refusal(m.append(serial, "y")) == (413, 40009)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"data": b"x"}, 40013),
        ({"data": "x", "encoding": "foo"}, 40013),
        ({"name": "x" * 2_049}, 40016),
        ({"extras": {"delta": {}}}, 40032),
        ({"extras": {"headers": {"a": []}}}, 40032),
    ],
)
async def test_appends_that_cannot_be(m: Editing, fields: dict[str, Any], code: int) -> None:
    serial = await m.publish("x")
    assert await refusal(m.append(serial, **fields)) == (400, code)
    assert await m.history() == [(0, "x")]


@pytest.mark.parametrize("action", ACTIONS)
async def test_who_may_change_a_message(m: Editing, action: int) -> None:
    verb = "delete" if action == DELETE else "update"
    other = "update" if action == DELETE else "delete"
    own, any_ = f"message-{verb}-own", f"message-{verb}-any"
    mine, nobodys = await m.publish("x", client_id="me"), await m.publish("x")
    me, nobody = ("me",), (None, "*")

    async def tried(serial: str, client_id: str | None, *operations: str) -> Any:
        asking = m.change(serial, action, by=m.may(*operations, client_id=client_id), name="n")
        try:
            await asking
        except BrokerError as error:
            return error.status, error.code
        return "done"

    for client_id in (*me, *nobody, "you"):
        for serial in (mine, nobodys):
            assert await tried(serial, client_id, any_) == "done"
            assert await tried(serial, client_id, own, any_) == "done"
            assert await tried(serial, client_id, "*") == "done"
            nothing = (f"message-{other}-own", f"message-{other}-any", "publish", "history")
            assert await tried(serial, client_id, *nothing) == (401, 40160)
    assert await tried(mine, "me", own) == "done"
    assert await tried(mine, "you", own) == (401, 40160)
    assert await tried(nobodys, "me", own) == (401, 40160)
    for client_id in nobody:
        for serial in (mine, nobodys):
            assert await tried(serial, client_id, own) == (401, 40166)


async def test_who_signs_a_change(m: Editing) -> None:
    serial = await m.publish("x", client_id="publisher")
    said = Operation("me", "because", {"a": "b"})

    async def signed(by: Principal, operation: Operation | None) -> Version:
        await m.update(serial, "y", by=by, operation=operation)
        version = (await m.get(serial)).version
        assert version is not None
        return version

    me, nobody = m.by("me"), m.by()
    found = await signed(me, msgspec.structs.replace(said, client_id=None))
    assert (found.client_id, found.description, found.metadata) == ("me", "because", {"a": "b"})
    assert (await signed(me, None)).client_id == "me"
    assert (await signed(me, said)).client_id == "me"
    assert (await signed(nobody, said)).client_id == "me"
    assert (await signed(nobody, None)).client_id is None
    assert await refusal(m.update(serial, "y", by=m.by("you"), operation=said)) == (400, 40012)
    assert (await m.get(serial)).client_id == "publisher"


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_repeat_over_a_resumed_connection(m: Editing, action: int) -> None:
    """It comes to the first version, whatever happened since; sent anew, it is another."""
    serial = await m.publish("x")
    first = await m.over(Origin("conn", 7, resent=False), serial, action, "y")
    await m.append(serial, "z")
    again = await m.over(Origin("conn", 7, resent=True), serial, action, "y")
    assert (again.duplicate, again.serials) == (True, first.serials[:1])
    fresh = await m.over(Origin("conn", 8, resent=True), serial, action, "y")
    assert not fresh.duplicate
    assert len(await Acting(m.broker, m.app).records(Kind.VERSIONS, m.channel)) == 3


async def test_changes_at_once_all_count(m: Editing) -> None:
    """Appends from everywhere, in one commit or several: every one is there, once."""
    serial = await m.publish("")
    letters = "abcdefghijklmnopqrstuvwxyz"
    async with trio.open_nursery() as nursery:
        for letter in letters:
            nursery.start_soon(m.append, serial, letter)
    message = await m.get(serial)
    assert sorted(message.data) == list(letters)
    events = await Acting(m.broker, m.app).events(Kind.VERSIONS, m.channel)
    assert "".join(event.fragment.data for event in events) == message.data


async def test_only_the_first_append_carries_the_message(m: Editing) -> None:
    serial = await m.publish("x" * 10_000)
    for letter in "abc":
        await m.append(serial, letter)
    events = await Acting(m.broker, m.app).events(Kind.VERSIONS, m.channel)
    assert all(isinstance(event, MessageAppended) for event in events)
    assert [event.base is None for event in events] == [False, True, True]


async def test_versions_are_later_than_their_message(m: Editing) -> None:
    """By serial and by time, though the clock stands still (TM2s)."""
    serial = await m.publish("x")
    serials = [await m.update(serial, str(number)) for number in range(3)]
    assert [serial, *serials] == sorted({serial, *serials})
    for stored in (await m.page(serial)).messages[1:]:
        assert stored.version is not None
        assert stored.version.timestamp > stored.timestamp


async def test_a_change_opens_a_channel_that_fell_idle(opened: Broker) -> None:
    m = await Editing(opened).prepare(MUTABLE)
    serial = await m.publish("x")
    await m.broker.submit(CloseChannel(m.app, m.channel, 1), app=m.app)
    with m.broker.rows() as rows:
        assert not lifecycle.is_active(rows, m.app, m.channel)
    await m.update(serial, "y")
    with m.broker.rows() as rows:
        assert lifecycle.is_active(rows, m.app, m.channel)
