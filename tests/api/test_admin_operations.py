"""Operations of the admin table on a broker in process."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import broker
from api.admin import operations
from api.admin.operations import OPERATIONS, is_stream
from broker import BadRequest, Broker, BrokerError, BrokerSettings, NotFound
from broker.apps import ROOT_CAPABILITY
from broker.auth.credentials import authenticate_key
from broker.errors import Unauthorized


class Asked:
    def __init__(self, opened: Broker) -> None:
        self.broker = opened

    async def __call__(self, operation: str, **arguments: Any) -> Any:
        return await operations.run(self.broker, operation, arguments)

    async def publish(self, *data: Any, channel: str = "demo", app: str | None = None) -> Any:
        messages = [{"data": one} for one in data]
        return await self("publish", channel=channel, messages=messages, app=app)

    async def data(self, channel: str = "demo", **query: Any) -> list[Any]:
        page = await self("history", channel=channel, **query)
        return [message["data"] for message in page["messages"]]


@pytest.fixture
async def ask(tmp_path: Path) -> AsyncIterator[Asked]:
    async with broker.open(tmp_path / "data") as opened:
        yield Asked(opened)


async def test_publish_and_history(ask: Asked) -> None:
    published = await ask.publish("one", {"n": 2})
    assert len(published["serials"]) == 2
    assert published["duplicate"] is False
    assert await ask.data() == ['{"n":2}', "one"]
    assert await ask.data(direction="forwards") == ["one", '{"n":2}']


async def test_a_repeated_id_is_a_duplicate(ask: Asked) -> None:
    arguments = {"channel": "demo", "messages": [{"id": "x", "data": "1"}]}
    first = await ask("publish", **arguments)
    again = await ask("publish", **arguments)
    assert again == {**first, "duplicate": True}


async def test_history_pages_to_the_end(ask: Asked) -> None:
    await ask.publish(*map(str, range(5)))
    found: list[str] = []
    cursor = None
    for _ in range(3):
        page = await ask("history", channel="demo", limit=2, cursor=cursor, direction="forwards")
        found += [message["data"] for message in page["messages"]]
        cursor = page["next"]
    assert (found, cursor) == (["0", "1", "2", "3", "4"], None)


async def test_pages_are_as_large_as_the_broker_allows(tmp_path: Path) -> None:
    settings = BrokerSettings(history_limit_max=2)
    async with broker.open(tmp_path, settings=settings) as opened:
        ask = Asked(opened)
        await ask.publish("a", "b", "c")
        assert await ask.data(limit=100) == ["c", "b"]


async def test_tail_says_when_it_began_and_misses_nothing(ask: Asked) -> None:
    await ask.publish("before")
    arguments = {"channel": "demo", "rewind": 1}
    async with aclosing(operations.stream(ask.broker, "tail", arguments)) as items:
        assert await anext(items) is None
        await ask.publish("after")
        assert [(await anext(items))["data"] for _ in range(2)] == ["before", "after"]


async def test_apps(ask: Asked) -> None:
    (first,) = await ask("apps.list")
    created = await ask("apps.create", name="staging")
    assert [app["id"] for app in await ask("apps.list")] == [first["id"], created["id"]]
    assert authenticate_key(ask.broker.apps, created["key"]).app_id == created["id"]
    await ask.publish("gone", app=created["id"])
    await ask("apps.delete", app=created["id"])
    assert await ask("apps.list") == [first]


async def test_keys(ask: Asked) -> None:
    (root,) = await ask("keys.list")
    assert root["capability"] == ROOT_CAPABILITY
    created = await ask("keys.create", capability='{"a":["publish"]}', revocable_tokens=True)
    assert created["key"].startswith(f"{created['appId']}.{created['keyId']}:")
    assert (created["capability"], created["revocableTokens"]) == ('{"a":["publish"]}', True)
    revoked = await ask("keys.revoke", key=created["name"])
    assert revoked["revoked"] is True
    assert await ask("keys.list") == [root]
    assert len(await ask("keys.list", revoked=True)) == 2


@pytest.mark.parametrize("field", ["name", "keyId", "key"])
async def test_rotation_replaces_a_key_however_it_is_named(ask: Asked, field: str) -> None:
    (old,) = await ask("keys.list")
    new = await ask("keys.rotate", key=old[field])
    assert await ask("keys.list") == [new]
    assert new["capability"] == old["capability"]
    with pytest.raises(Unauthorized, match="revoked"):
        authenticate_key(ask.broker.apps, old["key"])
    with pytest.raises(BadRequest, match="revoked already"):
        await ask("keys.rotate", key=old[field])


async def test_namespace_rules_not_given_stay(ask: Asked) -> None:
    await ask("namespaces.set", namespace="orders", rules={"identified": True})
    changed = await ask("namespaces.set", namespace="orders", rules={"retention_ms": 5})
    assert (changed["identified"], changed["retention_ms"]) == (True, 5)
    assert await ask("namespaces.list") == [changed]
    await ask("namespaces.remove", namespace="orders")
    assert await ask("namespaces.list") == []


async def test_purges(ask: Asked) -> None:
    await ask.publish("a")
    messages = [{"data": "hers", "clientId": "alice"}]
    await ask("publish", channel="other", messages=messages)
    await ask.publish("theirs", channel="other")
    await ask("purge", channel="demo")
    await ask("purge", client_id="alice")
    assert await ask.data() == []
    assert await ask.data("other") == ["theirs"]
    await ask("purge")
    assert await ask.data("other") == []


async def test_rebuild_sweep_and_status(ask: Asked) -> None:
    await ask.publish("kept")
    await ask("rebuild")
    assert (await ask("sweep"))["streamsTrimmed"] == 0
    assert await ask.data() == ["kept"]
    status = await ask("status")
    assert (status["ready"], status["failure"], status["apps"]) == (True, None, 1)
    assert status["metrics"]["messages_published"] == 1


@pytest.mark.parametrize(
    ("operation", "arguments", "refusal"),
    [
        ("nothing", {}, NotFound),
        ("history", {}, BadRequest),
        ("history", {"channel": 1}, BadRequest),
        ("history", {"channel": "demo", "limit": "9"}, BadRequest),
        ("history", {"channel": "demo", "limit": 0}, BadRequest),
        ("history", {"channel": "demo", "direction": "up"}, BadRequest),
        ("history", {"channel": "demo", "cursor": "x"}, BadRequest),
        ("history", {"channel": "demo", "app": "absent"}, NotFound),
        ("history", {"channel": "[meta]demo"}, BadRequest),
        ("history", {"channel": ""}, BadRequest),
        ("history", {"channel": "demo", "broker": 1}, BadRequest),
        ("publish", {"channel": "demo", "messages": []}, BadRequest),
        ("publish", {"channel": "demo", "messages": [1]}, BadRequest),
        ("publish", {"channel": "demo", "messages": [{"data": 1}]}, BadRequest),
        ("publish", {"channel": "demo", "messages": [{}] * 1001}, BadRequest),
        ("apps.create", {"app": "a b"}, BadRequest),
        ("apps.delete", {"app": "absent"}, NotFound),
        ("keys.list", {"app": "absent"}, NotFound),
        ("keys.create", {"capability": "{"}, BadRequest),
        ("keys.revoke", {"key": "absent.key"}, NotFound),
        ("keys.rotate", {"key": "absent"}, NotFound),
        ("apps.limits", {"app": "absent", "limits": {}}, NotFound),
        ("keys.limits", {"key": "absent", "limits": {}}, NotFound),
        ("keys.copy", {"key": "absent"}, NotFound),
        ("namespaces.set", {"namespace": "x", "rules": {"persist": True}}, BadRequest),
        ("namespaces.set", {"namespace": "x", "rules": {"messages_per_s": -1}}, BadRequest),
        ("namespaces.set", {"namespace": "x", "rules": {"persisted": 1}}, BadRequest),
        ("namespaces.set", {"namespace": "a:b", "rules": {"persisted": True}}, BadRequest),
        ("namespaces.remove", {"namespace": "absent"}, NotFound),
        ("purge", {"channel": "absent"}, NotFound),
        ("purge", {"channel": "demo", "client_id": "x"}, BadRequest),
    ],
)
async def test_refusals(
    ask: Asked, operation: str, arguments: dict[str, Any], refusal: type[BrokerError]
) -> None:
    with pytest.raises(refusal):
        await ask(operation, **arguments)


def test_only_tail_streams() -> None:
    assert [name for name in OPERATIONS if is_stream(name)] == ["tail"]
