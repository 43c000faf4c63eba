"""Purging a channel, an app and a client: what goes, what stays, and what a crash leaves to do."""

from pathlib import Path
from typing import Any

import pytest

import broker
from broker import BadRequest, Broker, Message, offline, purge
from broker.channels.registry import channels
from storage import LogSettings
from tests.broker.conftest import FakeClock

TARGETS: dict[str, dict[str, Any]] = {
    "channel": {"channel": "a"},
    "client": {"client_id": "me"},
    "app": {},
}
# What is left of (channel, client) a/me, a/you, b/me, b/you, and in app "other" a/me.
LEFT = {
    "channel": {"b/me", "b/you", "other"},
    "client": {"a/you", "b/you", "other"},
    "app": {"other"},
}


async def fill(b: Broker) -> None:
    assert isinstance(b.clock, FakeClock)
    b.clock.advance(1)  # a younger app than the default one
    await b.apps.create("other")
    for name in ("a", "b"):
        for client in ("me", "you"):
            text = f"{name}/{client}"
            await b.channel(name).publish(data=text, id=text, client_id=client)
            extras = {"ephemeral": True}
            await b.channel(name).publish(id=f"e{text}", client_id=client, extras=extras)
    await b.channel("a", app="other").publish(data="other", id="other", client_id="me")


async def left(b: Broker) -> set[Any]:
    channels_ = (b.channel("a"), b.channel("b"), b.channel("a", app="other"))
    return {m.data for channel in channels_ for m in (await channel.history()).messages}


def pending(b: Broker) -> int:
    with b.rows() as rows:
        return len(purge.pending(rows))


def damage(path: Path) -> list[str]:
    return offline.verify(path, LogSettings())


@pytest.mark.parametrize("target", TARGETS)
async def test_a_purge_takes_what_it_names_and_nothing_else(
    path: Path, clock: FakeClock, target: str
) -> None:
    async with broker.open(path, clock=clock) as b:
        await fill(b)
        await b.purge(b.default_app(), **TARGETS[target])
        assert await left(b) == LEFT[target]
        assert pending(b) == 0
    assert damage(path) == []
    async with broker.open(path, clock=clock) as b:
        assert await left(b) == LEFT[target]
        await b.rebuild()
        assert await left(b) == LEFT[target]
    assert damage(path) == []


@pytest.mark.parametrize("target", TARGETS)
async def test_dedup_forgets_what_was_purged_and_only_that(
    path: Path, clock: FakeClock, target: str
) -> None:
    async with broker.open(path, clock=clock) as b:
        await fill(b)
        await b.purge(b.default_app(), **TARGETS[target])
        for text in ("a/me", "a/you", "b/me", "b/you"):
            name, client = text.split("/")
            again = await b.channel(name).publish(data=text, id=text, client_id=client)
            assert again.duplicate == (text in LEFT[target]), text
        assert len(await left(b)) == 5
    assert damage(path) == []


@pytest.mark.parametrize("target", TARGETS)
async def test_the_chain_goes_on_after_a_purge(path: Path, clock: FakeClock, target: str) -> None:
    async with broker.open(path, clock=clock) as b:
        await fill(b)
        old = (await b.channel("a").history()).messages
        await b.purge(b.default_app(), **TARGETS[target])
        await b.channel("a").publish_all([Message(data="new", client_id="me")] * 3)
        found = (await b.channel("a").history()).messages
        assert [m.data for m in found[:3]] == ["new"] * 3
        assert all(m.serial > old[0].serial for m in found[:3])
        with b.rows() as rows:
            assert {info.name for info in channels(rows, b.default_app())} == {"a", "b"}
    assert damage(path) == []


@pytest.mark.parametrize("target", TARGETS)
async def test_a_purge_that_a_crash_interrupted_goes_on(
    path: Path, clock: FakeClock, target: str
) -> None:
    """The request is on disk, nothing of it is carried out; later messages are not its business."""
    async with broker.open(path, clock=clock) as b:
        await fill(b)
        app = b.default_app()
        wanted = TARGETS[target]
        await b.submit(purge.Purge(app, wanted.get("channel"), wanted.get("client_id")), app=app)
        assert pending(b) == 1
        await b.channel("a").publish(data="later", client_id="me")
    async with broker.open(path, clock=clock) as b:
        await b._purge_pending()  # waits for what the opening began, or does it
        assert pending(b) == 0
        assert await left(b) == LEFT[target] | {"later"}
    assert damage(path) == []


async def test_opening_carries_out_what_is_pending(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        await fill(b)
        app = b.default_app()
        await b.submit(purge.Purge(app, "a"), app=app)
        await b.submit(purge.Purge(app, None, "you"), app=app)
    async with broker.open(path, clock=clock) as b:
        while pending(b):
            await b.channel("a").history()  # a thread's work: this yields
        assert await left(b) == {"b/me", "other"}


async def test_a_purge_may_be_repeated(opened: Broker) -> None:
    await fill(opened)
    app = opened.default_app()
    for _ in range(2):
        for target in TARGETS.values():
            await opened.purge(app, **target)
    assert await left(opened) == {"other"}


@pytest.mark.parametrize(
    "target", [{"channel": ""}, {"client_id": ""}, {"channel": "a", "client_id": "me"}]
)
async def test_a_purge_that_names_nothing_clear_is_refused(
    opened: Broker, target: dict[str, str]
) -> None:
    await fill(opened)
    with pytest.raises(BadRequest):
        await opened.purge(opened.default_app(), **target)
    assert len(await left(opened)) == 5


async def test_a_subscriber_that_is_behind_a_purge_goes_on(path: Path, clock: FakeClock) -> None:
    settings = broker.BrokerSettings(subscription_messages_max=2)
    async with (
        broker.open(path, clock=clock, settings=settings) as b,
        b.channel("a").subscribe() as messages,
    ):
        await b.channel("a").publish_all([Message(data=str(n)) for n in range(10)])
        await b.purge(b.default_app(), channel="a")
        await b.channel("a").publish(data="after")
        assert (await anext(messages)).data == "after"
