"""Versions: which there are, in which order, and what a page of them costs."""

import pytest

from broker import BrokerError
from broker.interactions.change import Change
from broker.interactions.state import APPEND, DELETE, UPDATE
from broker.messages.message import Message
from storage.engine import Reader
from tests.broker.interactions.editing import Editing

MANY = 10_000
PAGE_STEPS_MAX = 4  # cursor steps and look-ups of a version on a page, wherever it lies


async def test_oldest_first(m: Editing) -> None:
    serial = await m.publish("created")
    await m.update(serial, "updated")
    await m.delete(serial)
    await m.update(serial, "again")
    expected = [(0, "created"), (1, "updated"), (2, "updated"), (1, "again")]
    for limit in (1, 2, 3, 4, 5, 100):
        assert await m.versions(serial, limit) == expected
    assert await m.history() == expected[-1:]
    found = (await m.page(serial)).messages
    assert {message.serial for message in found} == {serial}
    assert [v.version.serial for v in found if v.version] == sorted(
        v.version.serial for v in found if v.version
    )


async def test_a_message_that_never_changed(m: Editing) -> None:
    serial = await m.publish("x")
    assert await m.versions(serial, 1) == [(0, "x")]


async def test_appends_are_no_versions_of_their_own(m: Editing) -> None:
    """What grew is one version: the latest while it grows, and kept when it is changed."""
    serial = await m.publish("a")
    for letter in "bcd":
        await m.append(serial, letter)
    for limit in (1, 2, 3):
        assert await m.versions(serial, limit) == [(0, "a"), (1, "abcd")]
    await m.update(serial, "new")
    await m.append(serial, "er")
    await m.append(serial, "!")
    await m.delete(serial)
    expected = [(0, "a"), (1, "abcd"), (1, "new"), (1, "newer!"), (2, "newer!")]
    for limit in (1, 2, 3, 4, 5, 6):
        assert await m.versions(serial, limit) == expected


async def test_append_to_what_was_deleted(m: Editing) -> None:
    serial = await m.publish("a")
    await m.delete(serial, data="gone: ")
    await m.append(serial, "back")
    assert await m.history() == [(1, "gone: back")]
    assert await m.versions(serial, 1) == [(0, "a"), (2, "gone: "), (1, "gone: back")]


async def test_versions_that_come_while_they_are_paged(m: Editing) -> None:
    """A page goes on where the last ended, also where that was in the midst of growing."""
    serial = await m.publish("a")
    await m.update(serial, "b")
    await m.append(serial, "c")
    page = await m.page(serial, limit=2)
    await m.append(serial, "d")
    await m.update(serial, "e")
    rest = await m.page(serial, after=page.next)
    assert [message.data for message in (*page.messages, *rest.messages)] == ["a", "b", "bcd", "e"]


@pytest.mark.parametrize("action", [UPDATE, DELETE, APPEND])
async def test_who_may_see_them(m: Editing, action: int) -> None:
    serial = await m.publish("x")
    await m.change(serial, action, data="y")
    stranger = m.may("publish", "subscribe", "message-update-any")
    for asking in (
        m.broker.editor.message(stranger, m.channel, serial),
        m.broker.editor.versions(stranger, m.channel, serial, after=None, limit=1),
    ):
        with pytest.raises(BrokerError) as caught:
            await asking
        assert caught.value.code == 40160


async def test_a_page_costs_the_same_wherever_it_lies(
    m: Editing, monkeypatch: pytest.MonkeyPatch
) -> None:
    serial = await m.publish("0")
    acting, last = m.broker, 0
    commands = [
        acting.editor.prepare(m.principal, m.channel, Change(serial, UPDATE, Message(data=str(n))))
        for n in range(1, MANY + 1)
    ]
    for first in range(0, MANY, 1_000):
        await acting.log.submit_all(commands[first : first + 1_000], app=m.app, cost=1)
    steps = 0
    walk, get = Reader.walk, Reader.get

    def counted_walk(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        nonlocal steps
        for entry in walk(self, *args, **kwargs):
            steps += 1
            yield entry

    def counted_get(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        nonlocal steps
        steps += 1
        return get(self, *args, **kwargs)

    monkeypatch.setattr(Reader, "walk", counted_walk)
    monkeypatch.setattr(Reader, "get", counted_get)
    costs, after, found = [], None, 0
    while True:
        steps = 0
        page = await m.page(serial, after=after, limit=100)
        costs.append(steps)
        found += len(page.messages)
        last = len(page.messages)
        if page.next is None:
            break
        after = page.next
    assert found == MANY + 1
    assert last == 1
    assert max(costs) <= PAGE_STEPS_MAX * 100
    steps = 0
    await m.get(serial)
    assert steps <= 20
