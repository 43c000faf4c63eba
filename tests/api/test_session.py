"""The protocol of one connection, as conversations: what a client says, and what it hears.

Messages, malformed input, credentials and ends; channels are test_session_channels.py's.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

import broker
from api.realtime.framing import Frame
from api.realtime.protocol import RESUMED, Action
from broker import Broker, BrokerSettings
from broker.channels.modes import DEFAULT, Mode
from broker.channels.presence import PresenceAction
from tests.api.conversation import Client, Talk, talking

ENTER, LEAVE, UPDATE = PresenceAction.ENTER, PresenceAction.LEAVE, PresenceAction.UPDATE


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    settings = BrokerSettings(connection_channels_max=5)
    async with broker.open(tmp_path / "data", settings=settings) as b, talking(b) as t:
        yield t


def flags(message: dict[str, Any]) -> int:
    """Those below the modes."""
    return int(message["flags"]) & 0xFFFF


async def published(b: Broker, channel: str, *names: str) -> None:
    for name in names:
        await b.channel(channel).publish(name)


async def test_what_one_read_brought_is_acknowledged_together_and_in_order(talk: Talk) -> None:
    me, you = await talk.connect(), await talk.connect()
    await you.attach("c")
    me.publishes("c", *"abcde")
    ack = await me.hears(Action.ACK, msgSerial=0, count=5)
    items = await you.hears_items("c", 5)
    assert [item["name"] for item in items] == list("abcde")
    assert [{"serials": [item["serial"]]} for item in items] == ack["res"]


async def test_a_refusal_waits_for_its_turn(talk: Talk) -> None:
    """Clients take an answer to settle all that came before it (RTN7)."""
    me = await talk.connect()

    def pm(serial: int, **fields: Any) -> dict[str, Any]:
        return {"action": Action.MESSAGE, "channel": "c", "msgSerial": serial, **fields}

    me.says_all(
        pm(0, messages=[{"name": "a"}]),
        pm(1, messages=[{"name": "b", "data": 5}]),
        pm(2, messages=[{"name": "c"}, {"name": "d"}]),
        pm(3, messages=7),
        pm(4, messages=[{"name": "e"}]),
    )
    await me.hears(Action.ACK, msgSerial=0, count=1)
    await me.hears_error(Action.NACK, 40013, 400, msgSerial=1, count=1)
    ack = await me.hears(Action.ACK, msgSerial=2, count=1)
    assert len(ack["res"][0]["serials"]) == 2
    await me.hears_error(Action.NACK, 40000, 400, msgSerial=3)
    await me.hears(Action.ACK, msgSerial=4)


@pytest.mark.parametrize("resumed", [False, True])
async def test_what_is_sent_again_is_acknowledged_with_the_first_serials(
    talk: Talk, resumed: bool
) -> None:
    me, you = await talk.connect(), await talk.connect()
    await you.attach("c")
    me.publishes("c", "a", "b")
    first = await me.hears(Action.ACK, count=2)
    if resumed:
        me.vanishes()
        me = await talk.connect(resume=me.held.key)
    me.serial = 0
    me.publishes("c", "a", "b", "c")
    again = await me.hears(Action.ACK, msgSerial=0)
    assert again["res"][:2] == first["res"]
    assert await you.hears_names("c", 3) == ["a", "b", "c"]
    await talk.settled()
    you.hears_nothing_more()


async def test_a_new_connection_counts_its_own_messages(talk: Talk) -> None:
    """Its msgSerial begins at 0 again (RTN15c7); that is no repeat of anybody's."""
    me = await talk.connect()
    me.publishes("c", "a")
    first = await me.hears(Action.ACK, msgSerial=0)
    other = await talk.connect()
    other.publishes("c", "a")
    assert (await other.hears(Action.ACK, msgSerial=0))["res"] != first["res"]


async def test_no_echo(talk: Talk) -> None:
    me, you = await talk.connect(echo=False), await talk.connect()
    await me.attach("c")
    await you.attach("c")
    me.publishes("c", "mine")
    you.publishes("c", "yours")
    await me.hears(Action.ACK)
    assert await me.hears_names("c", 1) == ["yours"]
    assert await you.hears_names("c", 2) == ["mine", "yours"]


async def test_the_formats_of_both_ends_are_their_own(talk: Talk) -> None:
    text, binary = await talk.connect(), await talk.connect(binary=True)
    await text.attach("c")
    await binary.attach("c")
    binary.publishes("c", "b", data=b"\x00\xff")
    text.publishes("c", "t", data="AP8=", encoding="base64")
    in_text = await heard_items(text, 2)
    in_binary = await heard_items(binary, 2)
    assert [(i["data"], i["encoding"]) for i in in_text] == [("AP8=", "base64")] * 2
    assert [(i["data"], i.get("encoding")) for i in in_binary] == [(b"\x00\xff", None)] * 2
    assert (text.outbox.binaries, binary.outbox.binaries) == ({False}, {True})


async def heard_items(client: Client, count: int) -> list[dict[str, Any]]:
    """Messages, with whatever ACKs between them left out."""
    items: list[dict[str, Any]] = []
    while len(items) < count:
        items += (await client.next()).get("messages", [])
    return items


async def test_text_on_a_binary_connection_is_understood(talk: Talk) -> None:
    me = await talk.connect(binary=True)
    me.session.receive([Frame(False, b'{"action":10,"channel":"c"}')])
    await me.hears(Action.ATTACHED, channel="c")
    assert me.outbox.binaries == {True}


@pytest.mark.parametrize(
    "message",
    [
        {"channel": "c", "msgSerial": 2**64, "messages": [{"name": "a"}]},
        {"channel": "c", "msgSerial": 2**70, "messages": [{"name": "a"}]},
        {"channel": "c", "msgSerial": -1, "messages": [{"name": "a"}]},
        {"channel": "c", "messages": [{"name": "a"}]},
        {"channel": "c", "msgSerial": 0, "messages": []},
        {"channel": "c", "msgSerial": 0},
        {"channel": "", "msgSerial": 0, "messages": [{"name": "a"}]},
        {"channel": "[meta]log", "msgSerial": 0, "messages": [{"name": "a"}]},
        {"channel": "c", "msgSerial": 0, "messages": [5]},
        {"channel": "c", "msgSerial": 0, "messages": [{"name": []}]},
        {"channel": "c", "msgSerial": 0, "messages": [{"clientId": "you"}]},
        {"channel": "c", "msgSerial": 0, "params": {"_forceNack": "true"}, "messages": [{}]},
        {"channel": "c", "msgSerial": 0, "messages": [{"data": "x" * 70_000}]},
    ],
)
async def test_a_message_that_is_refused_changes_nothing(
    talk: Talk, message: dict[str, Any]
) -> None:
    me = await talk.connect("me")
    await me.attach("c")
    before = talk.broker.log.position
    me.says(Action.MESSAGE, **message)
    nack = await me.hears(Action.NACK, msgSerial=message.get("msgSerial", -1), count=1)
    assert 400 <= nack["error"]["statusCode"] < 500
    await talk.broker.log.query(lambda rows: None)
    assert talk.broker.log.position == before or await talk.broker.channel("c").history()
    assert (await talk.broker.channel("c").history()).messages == ()
    assert not me.session.over


@pytest.mark.parametrize(
    ("said", "action", "fields"),
    [
        ({"action": 15, "msgSerial": 3, "messages": 7}, Action.NACK, {"msgSerial": 3}),
        ({"action": "15", "msgSerial": 3, "channel": "c"}, Action.NACK, {"msgSerial": 3}),
        ({"action": 10, "channel": "c", "params": []}, Action.ERROR, {"channel": "c"}),
        ({"action": 10, "channel": 5}, Action.ERROR, {"channel": None}),
        ([], Action.ERROR, {"channel": None}),
    ],
)
@pytest.mark.parametrize("binary", [False, True])
async def test_errors_about_malformed_messages_are_as_narrow_as_can_be(
    talk: Talk, said: Any, action: Action, fields: dict[str, Any], binary: bool
) -> None:
    me = await talk.connect(binary=binary)
    me.says_all(said)
    await me.hears_error(action, 40000, 400, **fields)
    assert me.session.over == (action == Action.ERROR and fields["channel"] is None)


async def test_unknown_actions_and_fields_are_ignored(talk: Talk) -> None:
    me = await talk.connect()
    for action in (1, 2, 3, 4, 6, 8, 9, 11, 13, 18, 99, -1):
        me.says(action, channel="c", msgSerial=1)
    me.says(Action.ATTACH, channel="c", nonsense={"a": [1]}, connectionSerial=5, count=None)
    await me.hears(Action.ATTACHED, channel="c")


async def test_a_heartbeat_is_answered_with_its_id(talk: Talk) -> None:
    me = await talk.connect()
    me.says(Action.HEARTBEAT, id="xyz")
    await me.hears(Action.HEARTBEAT, id="xyz")


async def test_close(talk: Talk) -> None:
    me = await talk.connect()
    me.says_all({"action": Action.CLOSE}, {"action": Action.ATTACH, "channel": "c"})
    await me.hears(Action.CLOSED)
    me.hears_nothing_more()
    assert me.session.over
    with pytest.raises(broker.BadRequest):
        await talk.connect(resume=me.held.key)


async def test_what_came_before_a_close_is_published(talk: Talk) -> None:
    me, you = await talk.connect(), await talk.connect()
    await you.attach("c")
    me.says_all(
        {"action": 15, "channel": "c", "msgSerial": 0, "messages": [{"name": "last"}]},
        {"action": Action.CLOSE},
    )
    await me.hears(Action.CLOSED)
    assert await you.hears_names("c", 1) == ["last"]


async def test_another_transport_takes_over(talk: Talk) -> None:
    me = await talk.connect()
    await me.attach("c")
    again = await talk.connect(resume=me.held.key)
    await me.hears_error(Action.DISCONNECTED, 80016, 410)
    assert me.session.over
    me.vanishes()
    await again.attach("c")
    await published(talk.broker, "c", "hello")
    assert await again.hears_names("c", 1) == ["hello"]
    me.hears_nothing_more()


async def test_nothing_is_said_after_the_end(talk: Talk) -> None:
    me = await talk.connect("me")
    await me.attach("c")
    me.publishes("c", "a")
    me.vanishes()
    heard = len(me.outbox.messages)
    await published(talk.broker, "c", "b")
    await talk.settled()
    later = [m for m in me.outbox.messages[heard:] if m["action"] != Action.ACK]
    assert later == []


async def test_a_silent_connection_hears_heartbeats(tmp_path: Path, mock_clock: MockClock) -> None:
    async with broker.open(tmp_path / "data") as b, talking(b) as talk:
        me = await talk.connect(idle_ms=5_000)
        for _ in range(3):
            me.hears_nothing_more()
            mock_clock.jump(5.1)
            await wait_all_tasks_blocked()
            await me.hears(Action.HEARTBEAT, id=None)


async def test_new_credentials_for_the_same_connection(talk: Talk) -> None:
    me = await talk.connect(token=talk.token())
    await me.attach("c")
    await me.attach("d")
    narrow = talk.token(capability='{"c":["subscribe"]}')
    me.says(Action.AUTH, auth={"accessToken": narrow})
    await me.hears(Action.CONNECTED, connectionId=me.id)
    attached = await me.hears(Action.ATTACHED, channel="c")
    assert attached["flags"] & DEFAULT == Mode.SUBSCRIBE | Mode.PRESENCE_SUBSCRIBE
    await me.hears_error(Action.ERROR, 40160, 401, channel="d")
    me.publishes("c", "no")
    await me.hears(Action.NACK, msgSerial=0)
    me.says(Action.AUTH, auth={"accessToken": talk.token()})
    await me.hears(Action.CONNECTED)
    await me.hears(Action.ATTACHED, channel="c", flags=int(DEFAULT) | RESUMED)
    me.publishes("c", "yes")
    assert await me.hears_names("c", 1) == ["yes"]


@pytest.mark.parametrize("auth", [None, {}, {"accessToken": 5}, {"accessToken": "x"}, {"a": 1}])
async def test_credentials_that_are_none_end_the_connection(talk: Talk, auth: Any) -> None:
    me = await talk.connect()
    me.says(Action.AUTH, auth=auth)
    error = (await me.hears(Action.ERROR, channel=None))["error"]
    assert error["statusCode"] in (400, 401)
    assert me.session.over


async def test_somebody_elses_token_ends_the_connection(talk: Talk) -> None:
    me = await talk.connect(token=talk.token())
    me.says(Action.AUTH, auth={"accessToken": talk.token(client_id="you")})
    await me.hears_error(Action.ERROR, 40102, 401, channel=None)


async def test_a_token_ends_and_its_holder_is_asked_for_another_before(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with broker.open(tmp_path / "data") as b, talking(b) as talk:
        me = await talk.connect(token=talk.token(lifetime_s=100), idle_ms=600_000)
        mock_clock.jump(71)
        await wait_all_tasks_blocked()
        await me.hears(Action.AUTH)
        mock_clock.jump(31)
        await wait_all_tasks_blocked()
        await me.hears_error(Action.DISCONNECTED, 40142, 401)
        assert me.session.over


async def test_a_token_that_is_renewed_in_time_goes_on(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with broker.open(tmp_path / "data") as b, talking(b) as talk:
        me = await talk.connect(token=talk.token(lifetime_s=100), idle_ms=600_000)
        me.says(Action.AUTH, auth={"accessToken": talk.token(lifetime_s=1_000)})
        await me.hears(Action.CONNECTED)
        mock_clock.jump(500)
        await wait_all_tasks_blocked()
        me.hears_nothing_more()
