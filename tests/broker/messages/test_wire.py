"""Wire maps in and out: both formats see their own form of the same stored message.

Encodings are those of reference 1.7.3; the vectors are the public ones of ably-common.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.codec import decode_json, decode_msgpack, encode_json, encode_msgpack
from broker.errors import BadRequest
from broker.messages.message import Message, StoredMessage
from broker.messages.wire import from_wire, read_messages, to_wire

FIXTURES = Path(__file__).parents[2] / "fixtures"
SERIAL = "01726585978590-001@abcdefghij:001"
TIMESTAMP = 1_726_585_978_590


def stored(message: Message) -> StoredMessage:
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    return StoredMessage(serial=SERIAL, timestamp=TIMESTAMP, **fields)


def leaves(fields: Any, *, binary: bool) -> Any:
    """What a client of that format reads back after sending these fields in any format."""
    wire = to_wire(stored(from_wire(fields)), binary=binary)
    return decode_msgpack(encode_msgpack(wire)) if binary else decode_json(encode_json(wire))


def payload(wire: dict[str, Any]) -> tuple[Any, Any]:
    return wire.get("data"), wire.get("encoding")


def refusal(body: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read_messages(body)
    assert caught.value.status == 400
    return caught.value


def test_every_field_is_read() -> None:
    fields = {
        "id": "a",
        "name": "b",
        "data": "c",
        "encoding": "d",
        "clientId": "e",
        "connectionKey": "f",
        "extras": {"headers": {}},
    }
    assert from_wire(fields) == Message(
        id="a",
        name="b",
        data="c",
        encoding="d",
        client_id="e",
        connection_key="f",
        extras={"headers": {}},
    )


def test_null_is_absent_and_empty_is_not() -> None:
    names = ("id", "name", "data", "encoding", "clientId", "connectionKey", "extras", "serial")
    assert from_wire(dict.fromkeys(names)) == from_wire({}) == Message()
    assert from_wire({"name": "", "data": "", "encoding": ""}) == Message(name="", data="")


def test_what_is_ours_to_assign_and_what_we_do_not_know_is_ignored() -> None:
    fields = {
        "name": "x",
        "timestamp": 1,
        "connectionId": "spoofed",
        "serial": "spoofed",
        "action": 0,
        "version": {"serial": "spoofed"},
        "annotations": [],
        "colour": "green",
    }
    assert from_wire(fields) == Message(name="x")
    assert from_wire({"name": "x", "action": "nonsense", "serial": 7}) == Message(name="x")
    assert from_wire({"name": "x", "action": 1}) == Message(name="x")


@pytest.mark.parametrize("action", [1, 2, 5, 1.0])
def test_a_change_is_refused_rather_than_published_as_new(action: float) -> None:
    assert refusal({"action": action, "serial": SERIAL, "data": "x"}).code == 40000


def test_one_message_or_an_array() -> None:
    assert read_messages({"name": "a"}) == (Message(name="a"),)
    assert read_messages([{"name": "a"}, {}]) == (Message(name="a"), Message())
    assert read_messages([]) == ()


@pytest.mark.parametrize("body", [None, 7, 1.5, True, "text", b"bytes"])
def test_other_bodies_are_refused(body: Any) -> None:
    assert refusal(body).code == 40001
    error = refusal([{}, body])
    assert (error.code, error.message[:11]) == (40001, "message 1: ")


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ("id", 40031),
        ("name", 40016),
        ("data", 40013),
        ("encoding", 40013),
        ("clientId", 40012),
        ("connectionKey", 40006),
        ("extras", 40032),
    ],
)
@pytest.mark.parametrize("value", [7, 1.5, True, False])
def test_wrong_types_are_refused_by_name(field: str, code: int, value: Any) -> None:
    error = refusal({field: value})
    assert error.code == code
    assert field in error.message


@pytest.mark.parametrize("field", ["id", "name", "encoding", "clientId", "connectionKey"])
@pytest.mark.parametrize("value", [b"bytes", {}, []])
def test_text_fields_take_text_only(field: str, value: Any) -> None:
    assert field in refusal({field: value}).message


@pytest.mark.parametrize("extras", ["{}", [], b"{}"])
def test_extras_are_an_object(extras: Any) -> None:
    assert refusal({"extras": extras}).code == 40032


def test_a_full_message_on_the_wire() -> None:
    message = StoredMessage(
        id="uniqueid00:0:0",
        name="created",
        data="x",
        encoding="utf-8",
        client_id="ann",
        connection_id="conn",
        connection_key="never sent",
        extras={"headers": {"n": None}},
        serial=SERIAL,
        timestamp=TIMESTAMP,
    )
    for binary in (True, False):
        assert to_wire(message, binary=binary) == {
            "id": "uniqueid00:0:0",
            "name": "created",
            "data": "x",
            "encoding": "utf-8",
            "clientId": "ann",
            "connectionId": "conn",
            "timestamp": TIMESTAMP,
            "extras": {"headers": {"n": None}},
            "serial": SERIAL,
            "action": 0,
            "version": {"serial": SERIAL, "timestamp": TIMESTAMP},
        }


def test_nothing_absent_is_named() -> None:
    bare = StoredMessage(id="x", serial=SERIAL, timestamp=TIMESTAMP)
    for binary in (True, False):
        wire = to_wire(bare, binary=binary)
        assert set(wire) == {"id", "timestamp", "serial", "action", "version"}
        assert type(wire["action"]) is int
        assert type(wire["timestamp"]) is int
    assert b"null" not in encode_json(to_wire(bare, binary=False))


def test_empty_name_and_data_are_named() -> None:
    assert leaves({"name": "", "data": ""}, binary=False)["data"] == ""
    assert leaves({"name": "", "data": b""}, binary=True)["data"] == b""
    assert payload(leaves({"data": b""}, binary=False)) == ("", "base64")


CANONICAL = "3q2+7w=="
BYTES = bytes.fromhex("deadbeef")


@pytest.mark.parametrize(
    ("sent", "to_json", "to_msgpack"),
    [
        (("x", None), ("x", None), ("x", None)),
        (("x", "foo"), ("x", "foo"), ("x", "foo")),
        (("x", "foo/bar"), ("x", "foo/bar"), ("x", "foo/bar")),
        (("x", "base64/foo"), ("x", "base64/foo"), ("x", "base64/foo")),
        (("x", "notbase64"), ("x", "notbase64"), ("x", "notbase64")),
        (('{"a":1}', "json"), ('{"a":1}', "json"), ('{"a":1}', "json")),
        ((CANONICAL, "base64"), (CANONICAL, "base64"), (BYTES, None)),
        ((CANONICAL, "foo/base64"), (CANONICAL, "foo/base64"), (BYTES, "foo")),
        ((CANONICAL, "base64/base64"), (CANONICAL, "base64/base64"), (BYTES, "base64")),
        ((CANONICAL, None), (CANONICAL, None), (CANONICAL, None)),
        ((BYTES, None), (CANONICAL, "base64"), (BYTES, None)),
        ((BYTES, "cipher+x"), (CANONICAL, "cipher+x/base64"), (BYTES, "cipher+x")),
        ((BYTES, "base64"), (CANONICAL, "base64/base64"), (BYTES, "base64")),
        (("", "base64"), ("", "base64"), (b"", None)),
        # Written differently than we would: untouched for JSON, decoded for MessagePack.
        (("3q2+7w", "base64"), ("3q2+7w", "base64"), (BYTES, None)),
        (("3q2-7w==", "base64"), ("3q2-7w==", "base64"), (BYTES, None)),
        (("3q2+7x==", "base64"), ("3q2+7x==", "base64"), (BYTES, None)),
        (("3q2+\r\n7w==\n", "a/base64"), ("3q2+\r\n7w==\n", "a/base64"), (BYTES, "a")),
        # Raw JSON, as curl users send it.
        (({"a": [1]}, None), ('{"a":[1]}', "json"), ('{"a":[1]}', "json")),
        (([1.5, None], "foo"), ("[1.5,null]", "foo/json"), ("[1.5,null]", "foo/json")),
    ],
    ids=repr,
)
def test_each_format_sees_its_own_form(
    sent: tuple[Any, str | None],
    to_json: tuple[Any, str | None],
    to_msgpack: tuple[Any, str | None],
) -> None:
    fields = {"data": sent[0], "encoding": sent[1]}
    assert payload(leaves(fields, binary=False)) == to_json
    assert payload(leaves(fields, binary=True)) == to_msgpack


@pytest.mark.parametrize("data", ["%%%", "abcde", "ab=c", "é", "A", {"a": 1}, [1]])
def test_what_is_not_base64_is_refused(data: Any) -> None:
    assert refusal({"data": data, "encoding": "base64"}).code == 40013
    assert refusal({"data": data, "encoding": "foo/base64"}).code == 40013


ENCODINGS = st.one_of(
    st.none(),
    st.lists(st.sampled_from(["json", "utf-8", "foo", "base64"]), max_size=3).map("/".join),
)


@given(st.one_of(st.binary(), st.text()), ENCODINGS)
def test_a_format_reads_back_what_it_sent(data: str | bytes, encoding: str | None) -> None:
    """Whatever is accepted survives any number of hops through either format."""
    try:
        first = from_wire({"data": data, "encoding": encoding})
    except BadRequest:
        assert isinstance(data, str)
        assert encoding is not None
        return
    for binary in (True, False):
        wire = leaves({"data": data, "encoding": encoding}, binary=binary)
        assert payload(leaves(wire, binary=binary)) == payload(wire)
        if isinstance(data, str) and not binary:
            assert payload(wire) == (data, encoding or None)
    if isinstance(data, bytes):
        assert payload(
            leaves(leaves({"data": data, "encoding": encoding}, binary=False), binary=True)
        ) == (
            first.data,
            first.encoding,
        )


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=4))
def test_extras_survive_both_formats_deeply_equal(extras: dict[str, Any]) -> None:
    for binary in (True, False):
        assert leaves({"extras": extras}, binary=binary)["extras"] == extras


def vectors(name: str) -> Any:
    return json.loads((FIXTURES / name).read_text())


@pytest.mark.parametrize("vector", vectors("messages-encoding.json")["messages"], ids=repr)
def test_messages_encoding(vector: dict[str, Any]) -> None:
    """RSL6a1: sent raw over JSON, read back the same over JSON, decoded over MessagePack."""
    sent = {"data": vector["data"], "encoding": vector["encoding"]}
    assert payload(leaves(sent, binary=False)) == (vector["data"], vector["encoding"])
    data, encoding = payload(leaves(sent, binary=True))
    if vector["expectedType"] == "binary":
        assert (data.hex(), encoding) == (vector["expectedHexValue"], None)
    else:
        assert (data, encoding) == (vector["data"], vector["encoding"])


@pytest.mark.parametrize(
    "vector", vectors("msgpack_test_fixtures.json"), ids=lambda vector: vector["name"]
)
def test_msgpack_fixtures(vector: dict[str, Any]) -> None:
    """RSL6a3: payloads come back whole; the vectors' base64 text becomes what it stands for."""
    protocol_message = decode_msgpack(base64.b64decode(vector["msgpack"]))
    (sent,) = protocol_message["messages"]
    assert payload(leaves(sent, binary=False)) == payload(sent)
    data, encoding = payload(leaves(sent, binary=True))
    if vector["type"] == "binary":
        assert (data, encoding) == (vector["data"].encode() * vector["numRepeat"], None)
    elif vector["type"] == "string":
        assert (data, encoding) == (vector["data"] * vector["numRepeat"], None)
    else:
        assert (json.loads(data), encoding) == (vector["data"], "json")


@pytest.mark.parametrize("vector", vectors("crypto-data-128.json")["items"], ids=repr)
def test_crypto_fixtures(vector: dict[str, Any]) -> None:
    """Ciphertext passes through: what JSON calls .../base64, MessagePack carries as bytes."""
    as_json, as_msgpack = vector["encrypted"], decode_msgpack(base64.b64decode(vector["msgpack"]))
    for sent in (as_json, as_msgpack):
        assert leaves(sent, binary=False).items() >= as_json.items()
        assert leaves(sent, binary=True).items() >= as_msgpack.items()
    plain = vector["encoded"]
    assert leaves(plain, binary=False).items() >= plain.items()
