"""The audit log: what changed something is in it, with who and what came of it, and no secret."""

import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import broker
from api.admin import audit, operations
from api.admin.audit import CHANGING, TOLD_CHARS_MAX, Actor
from api.admin.operations import OPERATIONS
from broker import Broker, BrokerError, BrokerSettings
from broker.beams.webhooks import EVENTS
from broker.errors import NotFound, Unavailable
from tests.api.command_line import fine, inside, serving

ME = Actor(1234, "socket")
HUSH = "hush-hush-secret"


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Broker]:
    async with broker.open(tmp_path / "data") as opened:
        yield opened


async def listed(opened: Broker, limit: int = 100) -> list[dict[str, Any]]:
    """Oldest first."""
    page = await operations.run(opened, "audit", {"limit": limit})
    return list(reversed(page["actions"]))


async def arguments_of(opened: Broker) -> dict[str, dict[str, Any]]:
    """Of every operation that changes something, in an order in which each has what it needs, with
    a secret wherever one could be."""
    app = opened.default_app()
    root = opened.apps.keys(app)[0]
    made = await opened.beams.create(app)
    hook = await opened.beams.add_webhook(app, f"https://x.example/{HUSH}", HUSH, EVENTS, {})
    other = await opened.apps.create_key(app)
    await opened.apps.create("gone")
    return {
        "apps.create": {"app": "new", "name": "a new one"},
        "apps.limits": {"app": app, "limits": {"connections_max": 5}},
        "keys.create": {"app": app, "capability": '{"*":["publish"]}'},
        "keys.copy": {"key": other.string},
        "keys.limits": {"key": other.string, "limits": {"messages_per_s": 5}},
        "keys.rotate": {"key": other.string},
        "keys.revoke": {"key": (await opened.apps.create_key(app)).string},
        "namespaces.set": {"namespace": "orders", "rules": {"persisted": True}},
        "namespaces.remove": {"namespace": "orders"},
        "push.send": {"title": HUSH, "body": HUSH, "client_id": "ann"},
        "push.remove": {"device": "nobody"},
        "beams.create": {"app": "gone"},
        "beams.webhooks.add": {
            "instance": made.id,
            "url": f"https://y.example/{HUSH}",
            "secret": HUSH,
            "custom_data": {"of": HUSH},
        },
        "beams.webhooks.remove": {"instance": made.id, "webhook": hook.id},
        "beams.remove": {"instance": made.id},
        "matrix.channels": {"channels": {"email": "enabled"}},
        "matrix.encryption": {"rule": "required"},
        "matrix.token": {"user": "ann", "app": root.app_id},
        "purge": {"client_id": "ann"},
        "rebuild": {},
        "apps.delete": {"app": "gone"},
    }


async def test_all_that_changes_something_is_in_it_and_no_secret(opened: Broker) -> None:
    given = await arguments_of(opened)
    assert given.keys() == CHANGING.keys()
    secrets = {HUSH}
    for name, arguments in given.items():
        try:
            result = await audit.run(opened, ME, name, arguments)
        except NotFound:
            assert name == "push.remove"
            continue
        secrets |= {key.secret for one in opened.apps.list() for key in opened.apps.keys(one.id)}
        found = result if isinstance(result, dict) else {}
        secrets |= {found[field] for field in ("secretKey", "secret", "token") if field in found}
    actions = await listed(opened)
    assert [one["operation"] for one in actions] == [name for name in given for _ in range(2)]
    for asked, over in zip(actions[::2], actions[1::2], strict=True):
        assert (asked["phase"], asked["uid"], asked["via"]) == ("asked", *ME)
        failed = asked["operation"] == "push.remove"
        assert (over["phase"], over["code"]) == (("failed", 40400) if failed else ("done", None))
        assert (over["action"], over["arguments"]) == (asked["action"], asked["arguments"])
        assert over["time"] >= asked["time"]
    assert len(secrets) > 8
    assert [secret for secret in secrets if secret in str(actions)] == []


async def test_what_was_made_is_named(opened: Broker) -> None:
    key = await audit.run(opened, ME, "keys.create", {})
    (_, over) = await listed(opened)
    assert over["made"] == key["name"]
    assert (over["arguments"], over["code"]) == ({}, None)


@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - CHANGING.keys() - {"tail", "top"}))
async def test_what_changes_nothing_is_not_in_it(opened: Broker, name: str) -> None:
    instance = await opened.beams.create(opened.default_app())
    given: dict[str, dict[str, Any]] = {
        "publish": {"channel": "c", "messages": [{"data": "1"}]},
        "history": {"channel": "c"},
        "beams.webhooks.list": {"instance": instance.id},
    }
    await audit.run(opened, ME, name, given.get(name, {}))
    assert await listed(opened) == []


@pytest.mark.parametrize(
    ("name", "arguments"), [("nonsense", {}), ("purge", {"chanel": "c"}), ("keys.revoke", {})]
)
async def test_what_was_never_begun_is_not_in_it(
    opened: Broker, name: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(BrokerError):
        await audit.run(opened, ME, name, arguments)
    assert await listed(opened) == []


async def test_what_cannot_be_written_down_is_not_done(
    opened: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> None:
        raise Unavailable("no room")

    monkeypatch.setattr(opened.audit, "record", full)
    with pytest.raises(Unavailable):
        await audit.run(opened, ME, "apps.create", {"app": "new"})
    assert not opened.apps.app_exists("new")


async def test_what_is_done_is_answered_though_that_cannot_be_written_down(
    opened: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record = opened.audit.record

    async def once(event: Any) -> None:
        if event.phase != "asked":
            raise Unavailable("no room")
        await record(event)

    monkeypatch.setattr(opened.audit, "record", once)
    with caplog.at_level(logging.CRITICAL, "tidelog.admin"):
        assert (await audit.run(opened, ME, "apps.create", {"app": "new"}))["id"] == "new"
    (asked,) = await listed(opened)
    assert asked["phase"] == "asked"


async def test_what_is_told_is_bounded(opened: Broker) -> None:
    with pytest.raises(BrokerError):
        await audit.run(opened, ME, "push.remove", {"device": "x" * 10_000})
    asked, _ = await listed(opened)
    assert asked["arguments"] == {"device": "x" * TOLD_CHARS_MAX}


async def test_pages(opened: Broker) -> None:
    for number in range(3):
        await audit.run(opened, ME, "namespaces.set", {"namespace": f"n{number}", "rules": {}})
    found: list[str] = []
    cursor = None
    for _ in range(3):
        page = await operations.run(opened, "audit", {"limit": 2, "cursor": cursor})
        found += [f"{one['arguments']['namespace']} {one['phase']}" for one in page["actions"]]
        cursor = page["next"]
    assert cursor is None
    assert found == ["n2 done", "n2 asked", "n1 done", "n1 asked", "n0 done", "n0 asked"]
    for limit in (0, 501):
        with pytest.raises(BrokerError, match="limit must be"):
            await operations.run(opened, "audit", {"limit": limit})


@pytest.mark.parametrize("kept", [True, False])
async def test_it_is_kept_for_good_or_as_the_setting_says(tmp_path: Path, kept: bool) -> None:
    now_ms = 1_700_000_000_000
    settings = BrokerSettings(audit_retention_ms=0 if kept else 1_000, sweep_interval_ms=10**9)
    async with broker.open(tmp_path / "d", settings=settings, clock=lambda: now_ms) as opened:
        await audit.run(opened, ME, "apps.create", {"app": "new"})
        now_ms += 10**12
        await opened.sweep()
        assert len(await listed(opened)) == 2 * kept


async def test_a_purge_of_everything_leaves_it(opened: Broker) -> None:
    await audit.run(opened, ME, "apps.delete", {"app": opened.default_app()})
    assert [one["phase"] for one in await listed(opened)] == ["asked", "done"]


def test_the_command_tells_who_over_the_socket_and_on_the_directory(tmp_path: Path) -> None:
    data = ("--data", tmp_path / "data")
    with serving(tmp_path / "data"):
        key = fine("keys", "create", "--json", *data, how=inside).json
    fine("keys", "revoke", key["name"], *data, how=inside)
    lines = fine("audit", *data, how=inside).out.splitlines()
    uid = os.getuid()
    assert len(lines) == 2
    assert f"uid {uid}  keys.revoke  key={key['name']}  done" in lines[0]
    assert lines[1].endswith(f"-> {key['name']}  done")
    assert f"uid {uid}  keys.create" in lines[1]
    records = fine("audit", "--json", *data, how=inside).json_lines
    assert [(one["via"], one["phase"]) for one in records] == [
        ("directory", "done"),
        ("directory", "asked"),
        ("socket", "done"),
        ("socket", "asked"),
    ]
    assert {one["uid"] for one in records} == {uid}
    assert key["key"].partition(":")[2] not in str(records)
    assert len(fine("audit", "--limit", "1", *data, how=inside).out.splitlines()) == 1
