"""An app made with all that it begins with: one commit, refused whole, and the same for ever."""

from pathlib import Path
from typing import Any

import pytest

import broker
from broker import BadRequest, Broker, randomness, tenancy
from broker.administration import CreateKey, Fixture, ProvisionApp, SetNamespace
from broker.apps import NewKey
from broker.channels.presence import Change, ChangePresence, PresenceAction
from broker.messages.message import PresenceMessage
from broker.tenancy import NamespaceRules
from tests.broker.conftest import FakeClock


def member(client_id: str) -> PresenceMessage:
    return PresenceMessage(id=f"conn:0:{client_id}", client_id=client_id, connection_id="conn")


FIXTURE = Fixture("c", (member("a"), member("b")))


async def everything(b: Broker, app: str) -> Any:
    with b.rows() as rows:
        limit = tenancy.presence_members_max(rows, app)
    page = await b.members(app, "c", limit=10)
    keys = [(key.string, str(key.capability), key.revocable_tokens) for key in b.apps.keys(app)]
    return b.apps.list(), keys, b.apps.namespaces(app), limit, page


async def test_it_stays_what_it_was(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        app, keys = await b.apps.provision(
            [NewKey(), NewKey('{"a":["publish"]}', revocable_tokens=True)],
            [("n", NamespaceRules(persisted=True))],
            [FIXTURE, Fixture("empty", ())],
            presence_members_max=3,
        )
        assert [(str(key.capability), key.revocable_tokens) for key in keys] == [
            ('{"*":["*"]}', False),
            ('{"a":["publish"]}', True),
        ]
        before = await everything(b, app.id)
        assert before[1] == [
            (key.string, str(key.capability), key.revocable_tokens) for key in keys
        ]
        assert before[2:4] == ({"n": NamespaceRules(persisted=True)}, 3)
        assert {found.presence.client_id for found in before[4].members} == {"a", "b"}
        await b.rebuild()
        assert await everything(b, app.id) == before
    clock.advance(10 * 60_000)
    async with broker.open(path, clock=clock) as b:
        assert await everything(b, app.id) == before


async def test_the_limit_counts_the_fixtures(opened: Broker) -> None:
    app, _ = await opened.apps.provision([], [], [FIXTURE], presence_members_max=3)
    for client, there in (("c", True), ("d", False), ("c", True)):
        enter = Change(PresenceAction.ENTER, member(client))
        command = ChangePresence(app.id, "c", "conn", (enter,))
        if there:
            await opened.submit(command, app=app.id)
            continue
        with pytest.raises(BadRequest) as refusal:
            await opened.submit(command, app=app.id)
        assert refusal.value.code == 91003


def key(id_: str = "k", **fields: Any) -> CreateKey:
    return CreateKey("new", id_, **{"secret": "secret", "capability": '{"*":["*"]}', **fields})


@pytest.mark.parametrize(
    "parts",
    [
        {"keys": (key(), key())},
        {"keys": (key(), key("a.b"))},
        {"keys": (key(), key("l", secret=""))},
        {"keys": (key(), key("l", capability="{"))},
        {"namespaces": (SetNamespace("new", "a:b", NamespaceRules()),)},
        {"fixtures": (FIXTURE, FIXTURE)},
        {"app": "a.b"},
        {"app": "taken"},
    ],
)
async def test_one_bad_part_and_nothing_is_made(opened: Broker, parts: dict[str, Any]) -> None:
    await opened.apps.create("taken", with_root_key=False)
    position = opened.log.position
    command = ProvisionApp(**{"app": "new", "keys": (key(),), "fixtures": (FIXTURE,), **parts})
    with pytest.raises(BadRequest):
        await opened.submit(command, app="new")
    assert opened.log.position == position
    assert not opened.apps.app_exists("new")


async def test_deleting_it_takes_the_fixtures_too(
    opened: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _ = await opened.apps.provision([], [], [FIXTURE])
    await opened.apps.delete(app.id)
    monkeypatch.setattr(randomness, "short_id", lambda: app.id)
    await opened.apps.provision([])
    assert (await opened.members(app.id, "c", limit=10)).members == ()
