"""Presence as it is decided and folded: who is a member, what leaves carry, limits, repeats."""

from pathlib import Path

import pytest

import broker
from broker import BadRequest, Broker, NotFound
from broker.channels import presence
from broker.channels.presence import Change, ClearMembers, LeaveMembers, MembersPage
from broker.event import Kind
from broker.events import MemberEntered, MemberLeft, MemberUpdated
from storage import Cut, Stream
from tests.broker.acting import ENTER, LEAVE, UPDATE, Acting, member
from tests.broker.conftest import FakeClock


@pytest.fixture
def acting(opened: Broker) -> Acting:
    return Acting(opened)


def count(acting: Acting, channel: str = "c") -> int:
    with acting.broker.rows() as rows:
        return presence.count(rows, acting.app, channel)


async def page(acting: Acting, after: bytes = b"", limit: int = 100, **who: str) -> MembersPage:
    return await acting.broker.members(acting.app, "c", after=after, limit=limit, **who)


async def test_enter_update_leave(acting: Acting) -> None:
    await acting.act(ENTER, "me", data="1")
    assert acting.members() == {("conn", "me")}
    await acting.act(UPDATE, "me", data="2")
    (found,) = (await page(acting)).members
    assert found.presence.data == "2"
    await acting.act(LEAVE, "me")
    assert acting.members() == set()
    assert count(acting) == 0
    kinds = [type(event) for event in await acting.events(Kind.PRESENCE)]
    assert kinds == [MemberEntered, MemberUpdated, MemberLeft]


@pytest.mark.parametrize("said", ["conn:0:0", "conn:3:0", "conn:3:1"])
async def test_what_was_said_before_an_update_does_not_come_after_it(
    acting: Acting, said: str
) -> None:
    """SDKs enter again with the id of their first enter, behind updates that they had queued."""
    await acting.act(ENTER, "me", id="conn:0:0", data="before")
    await acting.act(UPDATE, "me", id="conn:3:1", data="after")
    await acting.act(ENTER, "me", id=said, data="before")
    (found,) = (await page(acting)).members
    assert found.presence.data == "after"
    assert len(await acting.events(Kind.PRESENCE)) == 2


@pytest.mark.parametrize("said", ["conn:4:0", "conn:10:0", "else:0:0", "conn:x:0", "conn"])
async def test_what_is_not_known_to_be_older_counts(acting: Acting, said: str) -> None:
    await acting.act(ENTER, "me", id="conn:3:1", data="before")
    await acting.act(ENTER, "me", id=said, data="after")
    (found,) = (await page(acting)).members
    assert found.presence.data == "after"


async def test_a_member_is_a_client_on_a_connection(acting: Acting) -> None:
    await acting.act(ENTER, "me", connection="a")
    await acting.act(ENTER, "me", connection="b")
    await acting.act(ENTER, "you", connection="b")
    await acting.act(ENTER, "me", connection="a", channel="another")
    assert acting.members() == {("a", "me"), ("b", "me"), ("b", "you")}
    await acting.act(LEAVE, "me", connection="a")
    assert acting.members() == {("b", "me"), ("b", "you")}
    assert acting.members("another") == {("a", "me")}


async def test_entering_again_and_updating_unannounced(acting: Acting) -> None:
    await acting.act(UPDATE, "me", data="1")
    assert count(acting) == 1
    await acting.act(ENTER, "me", data="2")
    assert count(acting) == 1
    (found,) = (await page(acting)).members
    assert found.presence.data == "2"


@pytest.mark.parametrize("given", [None, "goodbye"])
async def test_a_leave_without_data_carries_what_the_member_last_had(
    acting: Acting, given: str | None
) -> None:
    await acting.act(ENTER, "me", data="0")
    await acting.act(UPDATE, "me", data="last", encoding="utf-8", extras={"headers": {"a": 1}})
    await acting.act(LEAVE, "me", data=given)
    left = (await acting.events(Kind.PRESENCE))[-1].member
    assert left.data == (given or "last")
    assert left.encoding == (None if given else "utf-8")
    assert left.extras == (None if given else {"headers": {"a": 1}})


async def test_nobody_leaves_twice(acting: Acting) -> None:
    await acting.act(ENTER, "me")
    await acting.act(LEAVE, "me")
    before = acting.broker.log.position
    assert (await acting.act(LEAVE, "me", msg_serial=3)).serials == ()
    assert acting.broker.log.position == before


async def test_changes_of_one_message_follow_each_other(acting: Acting) -> None:
    await acting.act(ENTER, "stays")
    await acting.change(
        Change(ENTER, member("passes")),
        Change(LEAVE, member("stays")),
        Change(LEAVE, member("passes")),
        Change(ENTER, member("stays")),
    )
    assert acting.members() == {("conn", "stays")}
    assert count(acting) == 1


async def test_what_is_sent_again_happens_once(acting: Acting) -> None:
    first = await acting.act(ENTER, "me", msg_serial=7)
    await acting.act(LEAVE, "me", msg_serial=8)
    before = acting.broker.log.position
    again = await acting.act(ENTER, "me", msg_serial=7)
    assert again.duplicate
    assert again.serials == first.serials[:1]
    assert acting.broker.log.position == before
    assert acting.members() == set()
    await acting.act(ENTER, "me", msg_serial=9)
    other = await acting.act(ENTER, "me", connection="other", msg_serial=7)
    assert not other.duplicate
    assert acting.members() == {("conn", "me"), ("other", "me")}


@pytest.mark.parametrize(
    ("first", "second", "newest"),
    [
        ("conn:3:0", "conn:2:0", "first"),
        ("conn:3:1", "conn:3:0", "first"),
        ("conn:3:0", "conn:3:0", "first"),
        ("conn:3:0", "conn:10:0", "second"),
        ("conn:3:0", "chosen", "second"),
        ("chosen", "conn:0:0", "second"),
        ("conn:3:0", "other:0:0", "second"),
        ("conn:3:0", "conn:-1:0", "second"),
        ("conn:3:0", f"conn:{'0' * 30}:0", "second"),
        ("conn:3:0", "conn:²:0", "second"),
    ],
)
async def test_what_a_member_said_before_does_not_come_back(
    acting: Acting, first: str, second: str, newest: str
) -> None:
    """SDKs enter again, under the id of their first enter, when they attach again (RTP17g)."""
    await acting.act(ENTER, "me", data="first", id=first)
    await acting.act(ENTER, "me", data="second", id=second)
    (found,) = (await page(acting)).members
    assert found.presence.data == newest
    assert count(acting) == 1
    await acting.act(LEAVE, "me", id=first)
    await acting.act(ENTER, "me", data="again", id=first)
    assert acting.members() == {("conn", "me")}


async def test_a_channel_has_so_many_members_at_most(acting: Acting) -> None:
    async def enter(*names: str) -> None:
        await acting.change(*(Change(ENTER, member(name)) for name in names), members_max=2)

    await enter("a")
    with pytest.raises(BadRequest) as refused:
        await enter("b", "c")
    assert refused.value.code == 91003
    assert acting.members() == {("conn", "a")}
    await enter("a", "b", "b")
    with pytest.raises(BadRequest):
        await enter("c")
    await enter("a")
    await acting.act(LEAVE, "a")
    await enter("c")
    assert acting.members() == {("conn", "b"), ("conn", "c")}


async def test_the_limit_of_an_app_outranks_that_of_the_broker(opened: Broker) -> None:
    app, _ = await opened.apps.provision([], presence_members_max=1)
    acting = Acting(opened, app.id)
    await acting.act(ENTER, "a")
    with pytest.raises(BadRequest) as refused:
        await acting.act(ENTER, "b")
    assert refused.value.code == 91003


async def test_an_app_that_does_not_exist_has_no_members(opened: Broker) -> None:
    with pytest.raises(NotFound):
        await Acting(opened, "nowhere").act(ENTER, "me")


async def enter_many(acting: Acting) -> None:
    for connection in ("a", "ab"):
        for channel in ("c", "d"):
            for client in ("me", "you", "they"):
                await acting.act(ENTER, client, connection=connection, channel=channel, data="x")


async def leave_all(acting: Acting, command: LeaveMembers | ClearMembers) -> list[int]:
    """How many left, each time, until nobody is left to leave."""
    sizes = []
    more = True
    while more:
        outcome = await acting.submit(command)
        sizes.append(len(outcome.serials))
        more = outcome.reply
    return sizes


async def test_the_members_of_a_connection_leave(
    acting: Acting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "LEAVES_MAX", 4)
    await enter_many(acting)
    assert await leave_all(acting, LeaveMembers(acting.app, "a", "base")) == [4, 2]
    others = {("ab", client) for client in ("me", "you", "they")}
    assert acting.members("c") == acting.members("d") == others
    left = [event for event in await acting.events(Kind.PRESENCE) if isinstance(event, MemberLeft)]
    assert len(left) == 3
    assert all(event.member.data == "x" for event in left)
    assert all(event.member.id.startswith("base:0:") for event in left)
    assert await leave_all(acting, LeaveMembers(acting.app, "a", "base")) == [0]


async def test_the_members_of_a_connection_leave_one_channel(acting: Acting) -> None:
    await enter_many(acting)
    assert await leave_all(acting, LeaveMembers(acting.app, "a", "base", "d")) == [3]
    assert len(acting.members("c")) == 6
    assert len(acting.members("d")) == 3


async def test_a_channel_is_cleared(acting: Acting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LEAVES_MAX", 5)
    await enter_many(acting)
    assert await leave_all(acting, ClearMembers(acting.app, "c", "base")) == [5, 1]
    assert acting.members("c") == set()
    assert count(acting, "c") == 0
    assert len(acting.members("d")) == 6


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
async def test_pages_hold_everybody_once(acting: Acting, limit: int) -> None:
    await enter_many(acting)
    found, after = [], b""
    while True:
        members = await page(acting, after, limit)
        assert len(members.members) <= limit
        found += [(m.presence.connection_id, m.presence.client_id) for m in members.members]
        if members.next is None:
            break
        after = members.next
    assert len(found) == 6
    assert set(found) == acting.members("c")


async def test_pages_of_a_client_and_of_a_connection(acting: Acting) -> None:
    await enter_many(acting)
    mine = await page(acting, limit=2, client_id="me")
    assert {m.presence.connection_id for m in mine.members} == {"a", "ab"}
    assert mine.next is None
    assert len((await page(acting, connection_id="a")).members) == 3
    both = await page(acting, client_id="you", connection_id="ab")
    assert [(m.presence.connection_id, m.presence.client_id) for m in both.members] == [
        ("ab", "you")
    ]


async def test_members_outlive_their_events_and_the_process(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        acting = Acting(b)
        first = await acting.act(ENTER, "old", msg_serial=1)
        await acting.act(ENTER, "gone", msg_serial=2)
        last = await acting.act(LEAVE, "gone", msg_serial=3)
        stream = Stream(acting.app, "c", Kind.PRESENCE)
        await b.log.trim([Cut(stream, last.serials[0] or 0)])
        assert await acting.events(Kind.PRESENCE) == []
        assert acting.members() == {("conn", "old")}
        assert first.serials != (await acting.act(ENTER, "new", msg_serial=1)).serials
        await b.rebuild()
        assert acting.members() == {("conn", "old"), ("conn", "new")}
    async with broker.open(path, clock=clock) as b:
        acting = Acting(b)
        assert acting.members() == {("conn", "old"), ("conn", "new")}
        assert (await acting.act(ENTER, "new", msg_serial=1)).duplicate
        assert count(acting) == 2
