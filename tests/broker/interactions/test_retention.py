"""What is about messages goes after them, and not before: versions, annotations and their rows."""

from pathlib import Path

import pytest

import broker
from broker import offline, purge
from broker.event import Kind
from broker.interactions.keys import TABLE
from broker.messages.message import Message
from broker.settings import HOUR_MS
from broker.tenancy import NamespaceRules
from storage import LogSettings
from tests.broker.acting import Acting
from tests.broker.conftest import FakeClock
from tests.broker.interactions.editing import Editing, reaction

KINDS = (Kind.MESSAGES, Kind.VERSIONS, Kind.ANNOTATIONS)


async def counts(m: Editing) -> list[int]:
    acting = Acting(m.broker, m.app)
    return [len(await acting.records(kind, m.channel)) for kind in KINDS]


def rows(m: Editing) -> int:
    with m.broker.rows() as found:
        return len(list(found.scan(TABLE)))


async def fill(m: Editing, count: int) -> list[str]:
    """Messages, then a change and an annotation of each."""
    serials = [await m.publish("x" * 1_000) for _ in range(count)]
    for serial in serials:
        await m.append(serial, "y")
        await m.annotate(serial, reaction("x", method="total.v1"))
    return serials


async def test_by_age(m: Editing, clock: FakeClock) -> None:
    """A change of an old message does not keep it; one that is young is not lost with the old."""
    old = await m.publish("old")
    clock.advance(HOUR_MS)
    young = await m.publish("young")
    clock.advance(70 * HOUR_MS)
    for serial in (old, young):
        await m.append(serial, "!")
        await m.annotate(serial, reaction("x", method="total.v1"))
    await m.broker.sweep()
    assert await counts(m) == [2, 2, 2]
    clock.advance(HOUR_MS + 1)
    for _ in range(2):
        await m.broker.sweep()
    assert await m.history() == [(1, "young!")]
    assert (await m.get(young)).summary == {"reaction:total.v1": {"total": 1}}
    clock.advance(HOUR_MS)
    for _ in range(2):
        await m.broker.sweep()
    assert await counts(m) == [0, 0, 0]
    assert rows(m) == 0


@pytest.mark.parametrize(
    "rules",
    [
        NamespaceRules(mutable_messages=True, messages_max=2),
        NamespaceRules(mutable_messages=True, bytes_max=2_000),
    ],
)
async def test_by_count_and_by_size(m: Editing, rules: NamespaceRules) -> None:
    """Those bounds are on messages: what is about them does not count, and follows them."""
    await m.prepare(rules)
    first = await fill(m, 2)
    await fill(m, 1)
    for number in range(20):
        await m.update(first[1], str(number))
    for _ in range(2):
        await m.broker.sweep()
    left = (await counts(m))[0]
    assert left == 2
    assert await counts(m) == [2, 23, 3]  # the first message's lie behind the second message
    assert len(await m.versions(first[1])) == 22
    await m.publish("z" * 2_000)
    await m.publish("z" * 2_000)
    for _ in range(2):
        await m.broker.sweep()
    assert (await counts(m))[1:] == [0, 0]


@pytest.mark.parametrize("default", [True, False])
async def test_for_ever(path: Path, clock: FakeClock, default: bool) -> None:
    settings = broker.BrokerSettings(**({"message_retention_ms": 0} if default else {}))
    rules = NamespaceRules(mutable_messages=True, **({} if default else {"retention_ms": 0}))
    async with broker.open(path, clock=clock, settings=settings) as b:
        m = await Editing(b).prepare(rules)
        serials = await fill(m, 3)
        clock.advance(100_000 * HOUR_MS)
        for _ in range(2):
            await b.sweep()
        assert await counts(m) == [3, 3, 3]
        assert len(await m.versions(serials[0])) == 2


async def test_after_a_trim_the_same_rows_are_rebuilt(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        m = await Editing(b).prepare(NamespaceRules(mutable_messages=True, messages_max=1))
        serials = await fill(m, 3)
        await b.sweep()  # what is about the first two is still there
        assert await counts(m) == [1, 3, 3]
        await b.rebuild()
        assert len(await m.versions(serials[2])) == 2
        with pytest.raises(broker.NotFound):
            await m.versions(serials[0])
    assert offline.verify(path, LogSettings()) == []


async def test_a_purged_client_takes_what_came_during_the_purge(
    path: Path, clock: FakeClock
) -> None:
    """A version that was made after the request, of a message from before it. Its body is gone from
    the log; a later message of the client stays, with its version."""
    async with broker.open(path, clock=clock) as b:
        m = await Editing(b).prepare()
        mine = await m.publish("secret", client_id="me")
        yours = await m.publish("yours", client_id="you")
        await b.submit(purge.Purge(m.app, None, "me"), app=m.app)
        await m.update(mine, "secret too")
        await m.append(yours, "!")
        later = await m.publish("later", client_id="me")
        await m.append(later, "!")
        await b.purge(m.app, client_id="nobody")  # carries out what is pending
        assert await m.history() == [(1, "yours!"), (1, "later!")]
        kept = await Acting(b).events(Kind.VERSIONS, m.channel)
        assert [event.fragment.data for event in kept] == ["!", "!"]
    assert offline.verify(path, LogSettings()) == []


async def test_a_repeat_of_what_was_trimmed_is_published_anew(m: Editing) -> None:
    """As of any message: an id is known for as long as its record is kept."""
    serial = await m.publish("x", id="i")
    await m.append(serial, "y")
    await m.prepare(NamespaceRules(mutable_messages=True, messages_max=1))
    await m.publish("other")
    await m.broker.sweep()
    published = await m.broker.publish(m.principal, m.channel, [Message(id="i", data="x")])
    assert not published.duplicate
    assert await m.versions(published.serials[0] or "") == [(0, "x")]
