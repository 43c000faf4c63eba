"""Annotating: what is refused, what a repeat is, all or none; listing; what showing it comes to."""

from typing import Any

import pytest

from broker import BrokerError, BrokerSettings
from broker.event import Kind
from broker.interactions.annotation import ANNOTATIONS_MAX, COUNT_MAX, TEXT_CHARS_MAX
from broker.interactions.summaries import TYPES_MAX
from broker.messages.publishing import Origin
from broker.tenancy import NamespaceRules
from storage import Outcome
from tests.broker.acting import Acting
from tests.broker.interactions.editing import Editing, reaction


async def refusal(asking: Any) -> tuple[int, int]:
    with pytest.raises(BrokerError) as caught:
        await asking
    return caught.value.status, caught.value.code


async def stored(m: Editing) -> int:
    return len(await Acting(m.broker, m.app).records(Kind.ANNOTATIONS, m.channel))


async def test_made_listed_taken_back(m: Editing) -> None:
    serial = await m.publish("x")
    other = await m.publish("y")
    (first,) = await m.annotate(serial, reaction("+1", data="why", encoding="foo"), by=m.by("me"))
    await m.annotate(other, reaction("+1"), by=m.by("me"))
    made = (await m.get(serial)).summary
    assert made == {
        "reaction:distinct.v1": {"+1": {"total": 1, "clientIds": ["me"], "clipped": False}}
    }
    (second,) = await m.annotate(serial, reaction("+1", action=1), by=m.by("me"))
    assert (await m.get(serial)).summary == {}
    assert first is not None
    assert second is not None
    assert serial < first < second
    found = (await m.annotations(serial)).annotations
    assert [(one.serial, one.annotation.action) for one in found] == [(first, 0), (second, 1)]
    said = found[0].annotation
    assert (said.name, said.data, said.encoding, said.client_id) == ("+1", "why", "foo", "me")


async def test_listed_by_pages(m: Editing) -> None:
    serial = await m.publish("x")
    serials: list[str | None] = []
    for count in (1, 3, 1):
        serials += await m.annotate(serial, *[reaction(None, method="total.v1")] * count)
    for limit in (1, 2, 5, 6):
        found: list[str] = []
        after: str | None = None
        while True:
            page = await m.annotations(serial, after=after, limit=limit)
            found += [one.serial for one in page.annotations]
            assert page.annotations
            after = page.next
            if after is None:
                break
        assert found == serials


GOOD = reaction("x")
BAD: dict[str, tuple[Any, int, int]] = {
    "no array": (GOOD, 400, 40001),
    "a text": ("text", 400, 40001),
    "nothing": ([], 400, 40001),
    "too many": ([GOOD] * (ANNOTATIONS_MAX + 1), 400, 40001),
    "no object": ([7], 400, 40001),
    "no type": ([{"action": 0}], 400, 40001),
    "an empty type": ([{"action": 0, "type": ""}], 400, 40000),
    "a type that is no text": ([{"action": 0, "type": 7}], 400, 40001),
    "no action": ([{"type": "x"}], 400, 40001),
    "another action": ([{"action": 2, "type": "x"}], 400, 40000),
    "an action that only looks like one": ([{"action": True, "type": "x"}], 400, 40001),
    "no name": ([reaction(None)], 400, 40000),
    "a long name": ([reaction("x" * (TEXT_CHARS_MAX + 1))], 400, 40000),
    "a count of nothing": ([reaction("x", count=0)], 400, 40000),
    "a large count": ([reaction("x", count=COUNT_MAX + 1)], 400, 40000),
    "data that is none": ([reaction("x", data=7)], 400, 40013),
    "extras that are none": ([reaction("x", extras=[])], 400, 40001),
    "extras that JSON cannot say": ([reaction("x", extras={"a": b"x"})], 400, 40032),
    "extras that MessagePack cannot say": ([reaction("x", extras={"a": 2**70})], 400, 40032),
    "two ids": ([reaction("x", id="a:0"), reaction("y", id="b:1")], 400, 40031),
    "an empty id": ([reaction("x", id="")], 400, 40031),
    "one id of two": ([reaction("x", id="a:0"), reaction("y")], 400, 40031),
    "of another client": ([reaction("x", clientId="you")], 400, 40012),
    "of another message": ([reaction("x", messageSerial="other")], 400, 40003),
    "too large": ([reaction("x", data="x" * 65_536)], 413, 40009),
}


@pytest.mark.parametrize("what", BAD)
async def test_annotations_that_cannot_be(m: Editing, what: str) -> None:
    """One that cannot be takes the whole request with it."""
    items, status, code = BAD[what]
    serial = await m.publish("x")
    asking = m.broker.annotator.annotate(m.by("me"), m.channel, serial, items)
    assert await refusal(asking) == (status, code)
    if isinstance(items, list) and len(items) == 1:
        asking = m.broker.annotator.annotate(m.by("me"), m.channel, serial, [GOOD, *items])
        assert (await refusal(asking))[0] == status
    assert await stored(m) == 0
    assert (await m.get(serial)).summary is None


async def test_who_must_say_who_it_is(m: Editing) -> None:
    serial = await m.publish("x")
    for method in ("flag.v1", "distinct.v1", "unique.v1"):
        items = reaction("x", method=method)
        assert await refusal(m.annotate(serial, items)) == (401, 40161)
    for method in ("total.v1", "multiple.v1", "unknown.v1"):
        await m.annotate(serial, reaction("x", method=method))
    assert await refusal(m.annotate(serial, reaction("x", clientId="x" * 1_025))) == (400, 40000)


async def test_who_may(m: Editing) -> None:
    serial = await m.publish("x")
    one = reaction("x", method="total.v1")
    for operation in ("publish", "annotation-subscribe", "message-update-any"):
        assert await refusal(m.annotate(serial, one, by=m.may(operation))) == (401, 40160)
    await m.annotate(serial, one, by=m.may("annotation-publish"))
    for operation in ("history", "annotation-subscribe"):
        asking = m.broker.annotator.annotations(
            m.may(operation), m.channel, serial, after=None, limit=1
        )
        assert len((await asking).annotations) == 1
    asking = m.broker.annotator.annotations(
        m.may("subscribe"), m.channel, serial, after=None, limit=1
    )
    assert await refusal(asking) == (401, 40160)


async def test_of_what_is_not_there(m: Editing) -> None:
    serial, one = await m.publish("x"), reaction("x", method="total.v1")
    version = await m.update(serial, "y")
    for wrong in (version, "nonsense", serial.replace(m.broker.series, "abcdefghij")):
        assert await refusal(m.annotate(wrong, one)) == (404, 40400)
        assert await refusal(m.annotations(wrong)) == (404, 40400)
    other = Editing(m.broker, "other")
    serial = await other.publish("x")
    assert await refusal(other.annotate(serial, one)) == (400, 93002)
    assert (await other.annotations(serial)).annotations == ()


async def test_rules_are_judged_in_the_transaction(m: Editing) -> None:
    serial = await m.publish("x")
    one = reaction("x", method="total.v1")
    command = m.broker.annotator.prepare(m.principal, m.channel, [one], serial)
    await m.prepare(NamespaceRules())
    assert await refusal(m.broker.submit(command, app=m.app)) == (400, 93002)


async def test_too_many_types_take_the_whole_request_with_them(m: Editing) -> None:
    serial = await m.publish("x")
    many = [{"action": 0, "type": f"t{n}:total.v1"} for n in range(TYPES_MAX + 1)]
    assert await refusal(m.annotate(serial, *many)) == (400, 40000)
    assert await stored(m) == 0
    await m.annotate(serial, *many[1:])
    assert await refusal(m.annotate(serial, many[0])) == (400, 40000)


async def test_an_id_counts_once(m: Editing) -> None:
    """A repeat is answered with the first serials; ids are those of one message."""
    serial, other = await m.publish("x"), await m.publish("y")
    one = reaction("x", method="multiple.v1", id="mine:0")
    first = await m.annotate(serial, one)
    assert await m.annotate(serial, {**one, "count": 5}) == first
    assert (await m.get(serial)).summary["reaction:multiple.v1"]["x"]["total"] == 1  # type: ignore[index]
    both = [one, {**one, "id": "mine:1"}]
    assert await m.annotate(serial, *both) == (*first, None)
    assert await m.annotate(other, *both) != first
    assert await stored(m) == 3


async def over(m: Editing, origin: Origin, serial: str, *items: Any) -> Outcome:
    """As a connection sends it."""
    command = m.broker.annotator.prepare(m.principal, m.channel, items, serial, origin)
    return await m.broker.submit(command, app=m.app)


async def test_a_repeat_over_a_resumed_connection(m: Editing) -> None:
    serial = await m.publish("x")
    items = [reaction("x", method="total.v1")] * 3
    first = await over(m, Origin("conn", 4, resent=False), serial, *items)
    await m.annotate(serial, *items)
    again = await over(m, Origin("conn", 4, resent=True), serial, *items)
    assert (again.duplicate, again.serials) == (True, first.serials[:3])
    fresh = await over(m, Origin("conn", 5, resent=True), serial, *items)
    assert not fresh.duplicate
    assert await stored(m) == 9
    ids = [one.annotation.id for one in (await m.annotations(serial)).annotations]
    assert ids[:3] == ["conn:4:0", "conn:4:1", "conn:4:2"]


async def test_of_one_message_by_each_of_them(m: Editing) -> None:
    """As a connection says it: the annotations name the message, all the same."""
    serial, other = await m.publish("x"), await m.publish("y")
    one = reaction("x", method="total.v1")
    named = [{**one, "messageSerial": serial}, {**one, "messageSerial": serial}]
    command = m.broker.annotator.prepare(m.principal, m.channel, named)
    await m.broker.submit(command, app=m.app)
    assert len((await m.annotations(serial)).annotations) == 2
    for items in ([one], [named[0], {**one, "messageSerial": other}]):
        with pytest.raises(BrokerError) as caught:
            m.broker.annotator.prepare(m.principal, m.channel, items)
        assert caught.value.code == 40003


async def test_a_summary_outlives_changes_of_its_message(m: Editing) -> None:
    serial = await m.publish("x")
    await m.annotate(serial, reaction("x", method="total.v1"))
    before = (await m.get(serial)).summary
    await m.update(serial, "y")
    await m.append(serial, "z")
    await m.delete(serial)
    found = await m.get(serial)
    assert (found.action, found.data, found.summary) == (2, "yz", before)
    (listed,) = (await m.broker.channel(m.channel).history()).messages
    assert listed == found


async def test_sizes_are_those_of_a_message(m: Editing) -> None:
    limit = BrokerSettings().message_bytes_max
    serial = await m.publish("x")
    one = reaction("x", method="total.v1")
    room = limit - len(one["type"]) - 1
    assert await refusal(m.annotate(serial, {**one, "data": "x" * (room + 1)})) == (413, 40009)
    await m.annotate(serial, {**one, "data": "x" * room})
