"""Bodies, hostile ones first: whatever the bytes, a value or BadRequest 40001, and soon."""

import json
from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.codec import (
    DEPTH_MAX,
    ITEMS_MAX,
    decode_json,
    decode_msgpack,
    encode_json,
    encode_msgpack,
)
from broker.errors import BadRequest

MEGABYTE = 1_000_000


def refused_json(body: bytes, **options: Any) -> str:
    with pytest.raises(BadRequest) as caught:
        decode_json(body, **options)
    assert (caught.value.code, caught.value.status) == (40001, 400)
    return caught.value.message


def refused_msgpack(body: bytes, **options: Any) -> str:
    with pytest.raises(BadRequest) as caught:
        decode_msgpack(body, **options)
    assert (caught.value.code, caught.value.status) == (40001, 400)
    return caught.value.message


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":[1,-1,1.5,"x",true,false,null]}', {"a": [1, -1, 1.5, "x", True, False, None]}),
        (b" [ ] \n", []),
        (b'"\\u00e9\\ud83d\\ude00"', "é😀"),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b'"[[[[{{{{"', "[[[[{{{{"),
    ],
)
def test_json_that_is_read(body: bytes, value: Any) -> None:
    assert decode_json(body, depth_max=2) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"{'a':1}",
        b'{"a":1} x',
        b'{"a":1}{"a":2}',
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b'{"a":NaN}',
        b"1e999",
        b"1" * 10_000,
        b"\xef\xbb\xbf{}",
        b'"\xff"',
        b'{"\xff":1}',
        b'"\\ud800"',
        b'"\\ud800x"',
        b'"\\udc00"',
        b'"a\nb"',
        b"\x00",
        b'"unterminated',
        b'"\\',
        "{}".encode("utf-16"),
    ],
)
def test_json_that_is_refused(body: bytes) -> None:
    refused_json(body)


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def test_json_depth_is_bounded_to_the_level() -> None:
    assert decode_json(nested(DEPTH_MAX))
    assert "deeper than 64" in refused_json(nested(DEPTH_MAX + 1))
    assert decode_json(b"{}", depth_max=1) == {}
    refused_json(b'{"a":{}}', depth_max=1)
    refused_json(b'{"a":[{}]}', depth_max=2)


def test_many_shallow_brackets_are_not_depth() -> None:
    wide = b"[" + b",".join([b"[{}]"] * 1000) + b"]"
    assert len(decode_json(wide, depth_max=3)) == 1000
    refused_json(wide, depth_max=2)


@pytest.mark.parametrize("text", ["[" * 500, '"' * 500, '\\"[' * 500, "\\" * 501, '{"a":[' * 200])
def test_brackets_in_strings_are_not_depth(text: str) -> None:
    assert decode_json(json.dumps({text: [text]}).encode(), depth_max=2) == {text: [text]}


@pytest.mark.parametrize(
    "body",
    [
        b"[" * MEGABYTE,
        b'{"a":' * (MEGABYTE // 5),
        b'[{"a":' * (MEGABYTE // 6),
        b'"' + b'\\"' * (MEGABYTE // 2),
        b"[" * 100 + b'"' + b'\\"' * (MEGABYTE // 2),
        b'["a' * (MEGABYTE // 3),
        b"]" * 500_000 + b"[" * 500_000,
        b'\\"' + b"[" * MEGABYTE,
        b"[],[" * (MEGABYTE // 4),
    ],
    ids=lambda body: repr(body[:12]),
)
@pytest.mark.timeout(5)
def test_a_megabyte_of_nesting_is_refused_quickly(body: bytes) -> None:
    refused_json(body)


@given(st.text(alphabet='[]{}",:\\a1 ', max_size=60))
def test_the_depth_scan_agrees_with_the_parser(text: str) -> None:
    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, inner), default=0) if isinstance(value, dict | list) else 0

    try:
        value = json.loads(text)
    except ValueError:
        refused_json(text.encode(), depth_max=3)
        return
    if depth(value) > 3:
        refused_json(text.encode(), depth_max=3)
    else:
        assert decode_json(text.encode(), depth_max=3) == value


def test_msgpack_that_is_read() -> None:
    value = {"a": [1, -1, 2**64 - 1, -(2**63), 1.5, "x", b"\xff", True, False, None, {}]}
    assert decode_msgpack(msgpack.packb(value)) == value


def test_the_old_raw_type_reads_as_text() -> None:
    body = msgpack.packb({"name": "é", "data": b"bytes" * 20}, use_bin_type=False)
    assert decode_msgpack(body) == {"name": "é", "data": "bytes" * 20}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "incomplete"),
        (b"\x93\x01", "incomplete"),
        (b"\x01\x01", "extra data"),
        (b"\xc1", ""),
        (b"\xa1\xff", "utf-8"),
        (b"\xa3\xed\xa0\x80", "utf-8"),
        (b"\xd4\x01\x00", "extension"),
        (b"\x91\xd4\x01\x00", "extension"),
        (msgpack.packb(msgpack.Timestamp(1, 2)), "extension"),
        (msgpack.packb({"a": msgpack.Timestamp(1, 2)}), "extension"),
        (b"\x81\x01\x01", "map key"),
        (b"\x81\xc4\x01a\x01", "map keys must be strings"),
        (b"\x81\x90\x01", "map key"),
        (b"\x81\xc0\x01", "map key"),
        (b"\x91\x81\xc4\x01a\x01", "map keys must be strings"),
        (msgpack.packb(float("nan")), "NaN"),
        (msgpack.packb([1.5, float("inf")]), "Infinity"),
        (msgpack.packb({"a": [float("-inf")]}), "Infinity"),
        (b"\xdd\xff\xff\xff\xff", ""),
        (b"\xdf\xff\xff\xff\xff", ""),
        (b"\xdb\xff\xff\xff\xff", ""),
        (b"\xc6\xff\xff\xff\xff", ""),
    ],
    ids=repr,
)
def test_msgpack_that_is_refused(body: bytes, reason: str) -> None:
    assert reason in refused_msgpack(body)


def test_msgpack_depth_is_bounded_to_the_level() -> None:
    assert decode_msgpack(b"\x91" * (DEPTH_MAX - 1) + b"\x90")
    assert "deeper than 64" in refused_msgpack(b"\x91" * DEPTH_MAX + b"\x90")
    assert decode_msgpack(b"\x80", depth_max=1) == {}
    assert decode_msgpack(b"\x01", depth_max=0) == 1
    refused_msgpack(b"\x80", depth_max=0)
    assert "deeper than 64" in refused_msgpack(b"\x91" * 100_000)
    refused_msgpack(b"\x81\xa1a\x91\x80", depth_max=2)


def test_msgpack_arrays_and_maps_are_bounded() -> None:
    assert len(decode_msgpack(msgpack.packb([0] * ITEMS_MAX))) == ITEMS_MAX
    refused_msgpack(msgpack.packb([0] * (ITEMS_MAX + 1)))
    refused_msgpack(msgpack.packb({str(n): 0 for n in range(ITEMS_MAX + 1)}))


@pytest.mark.parametrize(
    "body",
    [
        b"\x91" * MEGABYTE,
        b"\x81\xa1a" * (MEGABYTE // 3),
        b"\xdd\x00\x00\xff\xff" * (MEGABYTE // 5),
        b"\xdd\x00\x00\xff\xff" * 500 + b"\x01" * MEGABYTE,
    ],
    ids=lambda body: repr(body[:6]),
)
@pytest.mark.timeout(5)
def test_a_megabyte_of_nested_claims_is_refused_quickly(body: bytes) -> None:
    refused_msgpack(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_nothing_else(body: bytes) -> None:
    with suppress(BadRequest):
        encode_json(decode_json(body))
    with suppress(BadRequest):
        encode_msgpack(decode_msgpack(body))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    """Equal, and of equal types all the way down: 1 is not 1.0 here."""
    return left == right and repr(left) == repr(right)


@given(VALUES)
def test_both_formats_return_what_was_written(value: Any) -> None:
    assert same(decode_json(encode_json(value)), value)
    assert same(decode_msgpack(encode_msgpack(value)), value)


def test_bytes_and_ints_keep_their_types_in_msgpack() -> None:
    in_bin, in_uint64 = b"\xc4\x01\xff", b"\xcf" + (1_726_585_978_590).to_bytes(8, "big")
    assert encode_msgpack({"d": b"\xff", "t": 1_726_585_978_590}) == (
        b"\x82\xa1d" + in_bin + b"\xa1t" + in_uint64
    )
    assert encode_json({"t": 1_726_585_978_590, "é": "ü"}) == '{"t":1726585978590,"é":"ü"}'.encode()
