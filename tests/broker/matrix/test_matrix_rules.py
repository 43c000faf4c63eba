"""An app's rules for Matrix pushers: what may be set, that it is kept, and what it is good for."""

from pathlib import Path
from typing import Any

import pytest

import broker
from broker import BadRequest, Broker, NotFound
from broker.matrix.rules import APP_IDS_MAX, CHANNELS_MAX, NO_RULES, MatrixRules
from tests.broker.conftest import FakeClock


async def test_nothing_said(opened: Broker) -> None:
    rules = opened.matrix.rules(opened.default_app())
    assert rules == NO_RULES == MatrixRules({}, "optional", {})


async def administer(b: Broker) -> str:
    app = b.default_app()
    await b.matrix.set_channels(app, {"gone": "enabled"})
    await b.matrix.set_channels(app, {"z": "enabled", "é 😀": "disabled", "a": "not_set"})
    await b.matrix.set_encryption(app, "required")
    await b.matrix.set_encryption(app, "forbidden", "org.one")
    await b.matrix.set_encryption(app, "optional", "org.two")
    await b.matrix.set_encryption(app, None, "org.one")
    await b.apps.create("gone")
    await b.matrix.set_channels("gone", {"x": "enabled"})
    await b.apps.delete("gone")
    return app


EXPECTED = MatrixRules(
    {"z": "enabled", "é 😀": "disabled", "a": "not_set"}, "required", {"org.two": "optional"}
)


async def test_rules_survive_reopening_and_rebuilding(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        app = await administer(b)
        assert b.matrix.rules(app) == EXPECTED
        await b.rebuild()
        assert b.matrix.rules(app) == EXPECTED
    async with broker.open(path, clock=clock) as b:
        found = b.matrix.rules(app)
        assert found == EXPECTED
        assert list(found.channels) == list(EXPECTED.channels)
        assert found.enabled_at_first == ("z",)
        assert b.matrix.rules("gone") == NO_RULES


async def test_whose_encryption(opened: Broker) -> None:
    app = await administer(opened)
    rules = opened.matrix.rules(app)
    assert rules.encryption_for("org.two") == "optional"
    assert rules.encryption_for("org.one") == "required"
    await opened.matrix.set_encryption(app, None)
    assert opened.matrix.rules(app).encryption_for("org.one") == "optional"


async def test_saying_it_again_appends_nothing(opened: Broker) -> None:
    app = await administer(opened)
    before = opened.log.position
    await opened.matrix.set_channels(app, dict(EXPECTED.channels))
    await opened.matrix.set_encryption(app, "required")
    await opened.matrix.set_encryption(app, None, "org.one")
    assert opened.log.position == before
    await opened.matrix.set_channels(app, dict(reversed(EXPECTED.channels.items())))
    assert opened.log.position > before, "the order is the operator's"


@pytest.mark.parametrize(
    "channels",
    [
        {"": "enabled"},
        {"x" * 129: "enabled"},
        {"😀" * 101: "enabled"},
        {"a\nb": "enabled"},
        {"a\0": "enabled"},
        {"\ud800": "enabled"},
        {"a": "on"},
        {"a": None},
        {f"c{number}": "enabled" for number in range(CHANNELS_MAX + 1)},
    ],
    ids=["empty", "long", "many-bytes", "newline", "nul", "surrogate", "status", "none", "many"],
)
async def test_channels_that_cannot_be(opened: Broker, channels: dict[str, Any]) -> None:
    app = await administer(opened)
    with pytest.raises(BadRequest):
        await opened.matrix.set_channels(app, channels)
    assert opened.matrix.rules(app) == EXPECTED


async def test_rules_of_encryption_that_cannot_be(opened: Broker) -> None:
    app = await administer(opened)
    given: Any
    for given in (("often", None), ("required", ""), ("required", "x" * 65), ("required", "a\n")):
        with pytest.raises(BadRequest):
            await opened.matrix.set_encryption(app, *given)
    assert opened.matrix.rules(app) == EXPECTED


async def test_how_many_app_ids_may_have_a_rule(opened: Broker) -> None:
    app = opened.default_app()
    for number in range(APP_IDS_MAX):
        await opened.matrix.set_encryption(app, "required", f"app {number}")
    with pytest.raises(BadRequest, match="256 app_ids"):
        await opened.matrix.set_encryption(app, "required", "one more")
    await opened.matrix.set_encryption(app, None, "app 7")
    await opened.matrix.set_encryption(app, "required", "one more")


async def test_an_app_that_is_not_there(opened: Broker) -> None:
    with pytest.raises(NotFound):
        await opened.matrix.set_channels("nobody", {})
    with pytest.raises(NotFound):
        await opened.matrix.set_encryption("nobody", "required")
