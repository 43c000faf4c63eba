"""Frames to protocol messages: tolerant where the protocol is, and one rule for what is published,
whether its messages were decoded as typed ones or as plain maps."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.realtime.framing import Frame
from api.realtime.protocol import Inbound, decode
from broker.errors import BadRequest
from broker.messages.message import Message
from broker.messages.wire import WireMessage, read_messages


def framed(message: Any, *, binary: bool) -> Frame:
    encode = msgspec.msgpack.encode if binary else msgspec.json.encode
    return Frame(binary, encode(message))


def inbound(message: Any, *, binary: bool) -> Inbound:
    return decode(framed(message, binary=binary))


def outcome(messages: object) -> Any:
    """What a publish of them comes to, as far as the wire is concerned."""
    try:
        return read_messages(messages)
    except BadRequest as error:
        return error.code, error.status, error.message


binary = pytest.mark.parametrize("binary", [False, True], ids=["json", "msgpack"])


@binary
def test_every_field_is_read(binary: bool) -> None:
    fields = {
        "action": 15,
        "channel": "orders",
        "msgSerial": 7,
        "channelSerial": "s",
        "flags": 3,
        "id": "i",
        "params": {"a": "b"},
        "presence": [{"action": 2}],
        "auth": {"accessToken": "t"},
        "messages": [{"name": "n", "data": "d", "clientId": "c", "colour": "green"}],
        "colour": "green",
    }
    read = inbound(fields, binary=binary)
    assert (read.action, read.channel, read.msg_serial) == (15, "orders", 7)
    assert (read.channel_serial, read.flags, read.id) == ("s", 3, "i")
    assert (read.params, read.presence) == ({"a": "b"}, [{"action": 2}])
    assert read.auth == {"accessToken": "t"}
    assert read.messages == [WireMessage(name="n", data="d", client_id="c")]


@binary
def test_null_is_absent(binary: bool) -> None:
    nothing = dict.fromkeys(("channel", "msgSerial", "messages", "presence", "params", "auth"))
    assert inbound({"action": 0, **nothing}, binary=binary) == inbound({"action": 0}, binary=binary)


@binary
@pytest.mark.parametrize("message", [{}, [], 7, {"action": "15"}, {"action": 15, "messages": {}}])
def test_what_is_no_protocol_message_is_refused(message: Any, binary: bool) -> None:
    with pytest.raises(BadRequest) as caught:
        inbound(message, binary=binary)
    assert (caught.value.code, caught.value.status) == (40000, 400)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b'{"action":15,"channel":"\xff"}', b"[" * 9999]
)
def test_bytes_that_do_not_decode_are_refused(data: bytes) -> None:
    for is_binary in (False, True):
        with pytest.raises(BadRequest, match="not a protocol message"):
            decode(Frame(is_binary, data))


@binary
def test_a_wrong_message_leaves_the_rest_readable(binary: bool) -> None:
    """So that the publish is refused with its own number, and the field's own code."""
    wrong = {"action": 15, "channel": "c", "msgSerial": 3, "messages": [{"name": "a"}, {"name": 7}]}
    read = inbound(wrong, binary=binary)
    assert (read.channel, read.msg_serial) == ("c", 3)
    assert outcome(read.messages) == (40016, 400, "message 1: name must be a string, not int")


_WIRE_NAMES = ("id", "name", "data", "encoding", "clientId", "connectionKey", "extras")
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from(["", "a", "json", "YQ==", "é"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=4,
)
_FIELDS = st.dictionaries(
    st.sampled_from((*_WIRE_NAMES, "serial", "action", "timestamp", "connectionId", "colour")),
    _VALUES,
    max_size=5,
)


@given(st.lists(_FIELDS | _VALUES, min_size=1, max_size=3), st.booleans())
def test_typed_and_plain_messages_come_to_the_same(messages: list[Any], binary: bool) -> None:
    read = inbound({"action": 15, "messages": messages}, binary=binary)
    assert outcome(read.messages) == outcome(messages)


def test_right_messages_are_never_read_as_plain_maps() -> None:
    """That is what makes them cheap."""
    fields = dict.fromkeys(_WIRE_NAMES, "a") | {"extras": {"headers": {}}, "encoding": None}
    (read,) = inbound({"action": 15, "messages": [fields]}, binary=False).messages or []
    assert isinstance(read, WireMessage)
    assert outcome([read]) == (
        Message(
            id="a",
            name="a",
            data="a",
            client_id="a",
            connection_key="a",
            extras={"headers": {}},
        ),
    )
