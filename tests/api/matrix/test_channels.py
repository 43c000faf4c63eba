"""Channels: those that there are, and how a pusher has them."""

from itertools import product
from typing import Any

import pytest

from tests.api.matrix.asking import AVAILABLE, PUSHKEY, READ, SET, WRITE, Asking
from tests.api.matrix.bodies import AT_FIRST, CHANNELS, channels, pusher
from tests.api.rest_server import RestServer


async def test_those_that_there_are_with_what_a_new_pusher_begins_with(ann: Asking) -> None:
    """In the operator's order."""
    assert await ann.fine(AVAILABLE) == channels(**CHANNELS)


async def test_an_app_without_channels(ann: Asking, server: RestServer) -> None:
    await server.broker.matrix.set_channels(server.app, {})
    await ann.fine(SET, pusher())
    assert await ann.fine(AVAILABLE) == await ann.fine(READ) == {"channels": []}
    assert await ann.fine(WRITE, channels()) == {}


async def test_a_new_pusher_has_what_is_enabled_at_first(ann: Asking) -> None:
    await ann.fine(SET, pusher())
    assert await ann.fine(READ) == channels(**AT_FIRST)


async def test_what_is_set_is_read(ann: Asking) -> None:
    await ann.fine(SET, pusher())
    for before, status in product(("enabled", "disabled", "not_set"), repeat=2):
        await ann.fine(WRITE, channels(task=before))
        assert await ann.fine(WRITE, channels(task=status)) == {}
        assert await ann.statuses() == {**AT_FIRST, "task": status}, before


async def test_channels_that_are_not_named_stay(ann: Asking) -> None:
    await ann.fine(SET, pusher())
    await ann.fine(WRITE, channels(task="enabled", news="disabled"))
    await ann.fine(WRITE, {"channels": []})
    await ann.fine(WRITE, channels(**{"erp.eu.prescription.get": "enabled"}))
    expected = {"task": "enabled", "news": "disabled", "erp.eu.prescription.get": "enabled"}
    assert await ann.statuses() == expected


@pytest.mark.parametrize(
    "listed",
    [
        {"name": "task", "value": "enabled"},
        {"id": "task", "value": "enabled"},
        {"id": "task", "name": "task", "status": "enabled", "value": "enabled", "more": 1},
    ],
)
async def test_channels_in_older_words(ann: Asking, listed: dict[str, Any]) -> None:
    await ann.fine(SET, pusher())
    await ann.fine(WRITE, {"channels": [listed]})
    assert (await ann.statuses())["task"] == "enabled"


async def test_registering_again_keeps_channels(ann: Asking) -> None:
    await ann.fine(SET, pusher())
    await ann.fine(WRITE, channels(task="enabled", news="not_set"))
    await ann.fine(SET, pusher(lang="de"))
    assert await ann.statuses() == {**AT_FIRST, "task": "enabled", "news": "not_set"}


async def test_channels_are_of_one_user_and_pushkey(ann: Asking, bob: Asking) -> None:
    await ann.fine(SET, pusher())
    await ann.fine(SET, pusher("other"))
    await bob.fine(SET, pusher(append=True))
    await ann.fine(WRITE, channels(task="enabled"))
    assert (await ann.statuses("other"))["task"] == "not_set"
    assert (await bob.statuses())["task"] == "not_set"


async def test_of_several_app_ids_the_pusher_that_was_changed_last(
    ann: Asking, server: RestServer
) -> None:
    """A pushkey alone does not say which one is meant."""
    for app_id in ("one", "two"):
        await _later(server)
        await ann.fine(SET, pusher(app_id=app_id))
    await ann.fine(WRITE, channels(task="enabled"))
    await _later(server)
    await ann.fine(SET, pusher(app_id="one"))
    assert (await ann.statuses())["task"] == "not_set"
    await _later(server)
    await ann.fine(SET, pusher(app_id="two"))
    assert (await ann.statuses())["task"] == "enabled"
    await ann.fine(SET, {"kind": None, "app_id": "one", "pushkey": PUSHKEY})
    assert (await ann.statuses())["task"] == "enabled", "it was that of two all along"


async def _later(server: RestServer) -> None:
    """Times of changes are in milliseconds; the log's own clock never shows one twice."""
    server.broker.now()


async def test_a_channel_that_comes_back_is_as_it_was(ann: Asking, server: RestServer) -> None:
    set_channels = server.broker.matrix.set_channels
    await ann.fine(SET, pusher())
    await ann.fine(WRITE, channels(task="enabled"))
    await set_channels(server.app, {"new": "enabled"})
    assert await ann.statuses() == {"new": "not_set"}
    await set_channels(server.app, {"task": "disabled", "new": "enabled"})
    assert await ann.statuses() == {"task": "enabled", "new": "not_set"}
