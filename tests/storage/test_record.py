"""No record or row with a changed bit, or in another's place, ever decodes."""

import zlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from storage import Damaged, FormatError, Record, Stream
from storage.record import (
    GENESIS,
    NO_LINK,
    Link,
    open_row,
    pack,
    redact,
    seal_row,
    serial_key,
    stream_key,
    unpack,
)

STREAM = Stream("app", "channel", 1)
EVENT = {"text": "hello", "n": 7, "data": b"\0\xff"}
SERIAL = 1_782_579_200_000_000_123
NAMES = st.text(max_size=40)


def packed(serial: int = SERIAL, previous: Link = NO_LINK) -> tuple[bytes, Link]:
    return pack(STREAM, serial, previous, msgpack.packb(EVENT))


def read(value: bytes, serial: int = SERIAL) -> Record:
    return unpack(serial, value, msgpack.unpackb)


def test_round_trip() -> None:
    value, link = packed()
    assert read(value) == Record(SERIAL, STREAM, EVENT, link, GENESIS)
    assert (link.serial, link.sequence, link.total) == (SERIAL, 1, len(value))


@given(NAMES, NAMES, st.integers(0, 255), st.integers(1, (1 << 64) - 1), st.binary(max_size=300))
def test_round_trip_of_anything(app: str, name: str, kind: int, serial: int, body: bytes) -> None:
    value, link = pack(Stream(app, name, kind), serial, NO_LINK, body)
    record = unpack(serial, value, bytes)
    assert record == Record(serial, Stream(app, name, kind), body, link, GENESIS)


def test_a_chain_links_and_sums() -> None:
    first, link = packed()
    second, next_link = packed(SERIAL + 1, link)
    record = read(second, SERIAL + 1)
    assert record.previous == link.hash
    assert next_link.sequence == 2
    assert next_link.total == len(first) + len(second)


def flips(value: bytes) -> list[bytes]:
    """Every value that differs in one byte: by one bit, or by all of them."""
    changed = []
    for at in range(len(value)):
        for mask in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            flipped = bytearray(value)
            flipped[at] ^= mask
            changed.append(bytes(flipped))
    return changed


def test_every_flip_is_reported() -> None:
    value, _ = packed()
    for changed in flips(value):
        with pytest.raises(Damaged, match=f"record {SERIAL}"):
            read(changed)


def test_every_flip_of_a_redacted_record_is_reported() -> None:
    for changed in flips(redact(read(packed()[0]))):
        with pytest.raises(Damaged):
            read(changed)


def test_every_cut_and_every_addition_is_reported() -> None:
    value, _ = packed()
    for changed in [value[:length] for length in range(len(value))] + [value + b"\0", b""]:
        with pytest.raises(Damaged):
            read(changed)


def test_a_record_under_another_serial_is_reported() -> None:
    value, _ = packed()
    for bit in range(64):
        with pytest.raises(Damaged):
            read(value, SERIAL ^ 1 << bit)


def test_a_newer_record_version_is_refused_as_such() -> None:
    value, _ = packed()
    newer = b"\2" + value[1:2] + bytes(4) + value[6:]
    crc = zlib.crc32(newer, SERIAL & 0xFFFFFFFF) ^ SERIAL >> 32
    with pytest.raises(FormatError, match="version 2"):
        read(newer[:2] + crc.to_bytes(4, "big") + newer[6:])


def test_redaction_keeps_all_but_the_body() -> None:
    _, before = packed()
    record = read(packed(SERIAL + 1, before)[0], SERIAL + 1)
    value = redact(record)
    redacted = read(value, SERIAL + 1)
    assert redacted == replace(record, event=None)
    assert redacted.redacted
    assert b"hello" not in value
    assert redact(redacted) == value


def test_rows_are_sealed_with_their_key() -> None:
    sealed = seal_row(b"key", b"value")
    assert open_row(b"key", sealed) == b"value"
    assert open_row(b"k", seal_row(b"k", b"")) == b""
    for changed in [*flips(sealed), sealed[:-1], sealed + b"\0", b"", sealed[:3]]:
        with pytest.raises(Damaged, match="row 6b6579"):
            open_row(b"key", changed)
    with pytest.raises(Damaged):
        open_row(b"kez", sealed)


@given(NAMES, NAMES, NAMES, NAMES)
def test_streams_have_keys_of_their_own(app: str, name: str, app2: str, name2: str) -> None:
    if "\0" in app + app2:
        return  # an app id never holds one
    same = (app, name) == (app2, name2)
    assert (stream_key(Stream(app, name, 1)) == stream_key(Stream(app2, name2, 1))) == same
    assert stream_key(Stream(app, name, 1)) != stream_key(Stream(app, name, 2))


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))
def test_keys_sort_as_serials(a: int, b: int) -> None:
    assert (serial_key(a) < serial_key(b)) == (a < b)
