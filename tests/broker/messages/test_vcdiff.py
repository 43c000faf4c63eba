"""Deltas decode to their target, by the RFC and by the decoder of ably-python, and are small."""

import random

import pytest
import vcdiff_decoder
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import vcdiff
from broker.messages.vcdiff import OVERHEAD_BYTES, Source, encode, integer
from tests.broker.messages import rfc3284
from tests.broker.messages.documents import changed, document, hostile, records
from tests.broker.messages.rfc3284 import ADD, COPY, RUN, Decoded, Section

HEADER = b"\xd6\xc3\xc4\x00\x00"
HOSTILE = hostile()

payloads = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(str.encode),
    st.lists(st.sampled_from([b"a" * 20, b"abc", b'{"id":1,"name":"x"},', b"\x00"])).map(b"".join),
    st.builds(
        lambda seed, size: document(records(random.Random(seed), size)),
        st.integers(0, 9),
        st.integers(0, 4_000),
    ),
)
positions = st.floats(0, 1)
edits = st.lists(st.tuples(positions, st.integers(0, 80), st.binary(max_size=40), positions))


def edited(payload: bytes, by: list[tuple[float, int, bytes, float]]) -> bytes:
    """Each takes so many bytes out, puts others in their place, and puts those it took elsewhere:
    so there are changes, insertions, deletions, moves and copies."""
    for place, size, new, elsewhere in by:
        at = int(place * len(payload))
        taken = payload[at : at + size]
        payload = payload[:at] + new + payload[at + size :]
        at = int(elsewhere * len(payload))
        payload = payload[:at] + taken + payload[at:]
    return payload


def check(source: bytes, target: bytes) -> Decoded:
    delta = encode(source, target)
    decoded = rfc3284.decode(source, delta)
    assert decoded.target == target
    assert vcdiff_decoder.decode(source, delta) == target
    assert len(delta) <= len(target) + OVERHEAD_BYTES
    return decoded


@given(payloads, edits)
def test_an_edited_payload_decodes(
    source: bytes, by: list[tuple[float, int, bytes, float]]
) -> None:
    check(source, edited(source, by))


@given(payloads, payloads)
def test_another_payload_decodes(source: bytes, target: bytes) -> None:
    check(source, target)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_payloads_decode(name: str) -> None:
    check(*HOSTILE[name])


@given(st.lists(payloads, max_size=4), payloads)
def test_a_source_serves_any_number_of_targets(targets: list[bytes], payload: bytes) -> None:
    source = Source(payload)
    assert [source.encode(target) for target in targets] == [
        encode(payload, target) for target in targets
    ]


@pytest.mark.parametrize(
    ("source", "target", "delta"),
    [
        (b"", b"", HEADER + b"\x00\x05" + b"\x00\x00\x00\x00\x00"),
        (b"a", b"", HEADER + b"\x01\x01\x00\x05" + b"\x00\x00\x00\x00\x00"),
        (b"", b"abc", HEADER + b"\x00\x09" + b"\x03\x00\x03\x01\x00" + b"abc" + b"\x04"),
        (b"", b"a" * 200, HEADER + b"\x00\x0a" + b"\x81\x48\x00\x01\x03\x00" + b"a\x00\x81\x48"),
        (
            b"0123456789abcdef",
            b"0123456789abcdef!",
            HEADER + b"\x01\x10\x00\x09" + b"\x11\x00\x01\x02\x01" + b"!" + b"\x80\x02" + b"\x00",
        ),
    ],
    ids=["nothing", "nothing of something", "add", "run", "copy"],
)
def test_these_bytes_are_written(source: bytes, target: bytes, delta: bytes) -> None:
    assert encode(source, target) == delta
    check(source, target)


def test_every_instruction_is_used() -> None:
    begin, end = bytes(range(100)), bytes(range(100, 200))
    decoded = check(begin + end, begin + b"new" + end + b"-" * 50)
    assert decoded.sorts == (COPY, ADD, COPY, RUN)


@pytest.mark.parametrize(
    ("literal", "sorts"),
    [
        (b"-" * 16, (RUN,)),
        (b"-" * 15, (ADD,)),
        (b"-" * 16 + b"x", (RUN, ADD)),
        (b"x" + b"-" * 16, (ADD, RUN)),
        (b"-" * 16 + b"x" + b"-" * 16, (RUN, ADD, RUN)),
        (b"x" + b"-" * 40 + b"x", (ADD,)),
    ],
)
def test_what_is_one_byte_over_and_over_at_an_end_is_run(
    literal: bytes, sorts: tuple[int, ...]
) -> None:
    assert check(b"", literal).sorts == sorts


@pytest.mark.parametrize("size", [16, 17, 18, 19, 127, 128, 16_383, 16_384])
def test_copies_and_adds_of_sizes_at_an_edge(size: int) -> None:
    noise = random.Random(size).randbytes(size)
    assert check(noise, noise + b"x").sorts == (COPY, ADD)
    assert check(b"", noise).sorts == (ADD,)


def test_every_way_to_write_an_address_is_used() -> None:
    """Blocks of a source, put in an order that makes each the shortest once."""
    chance = random.Random(8)
    blocks = [chance.randbytes(96) for _ in range(400)]
    order = [*range(0, 400, 7), 3, 0, 399, *(chance.randrange(400) for _ in range(200))]
    target = b"".join(blocks[number] + bytes((number % 251, 255)) for number in order)
    decoded = check(b"".join(blocks), target + b"".join(blocks))
    assert set(decoded.modes) == set(range(9))


def test_a_delta_of_an_ordinary_change_is_small() -> None:
    chance = random.Random(9)
    for size, most in ((1_000, 0.2), (4_000, 0.1), (16_000, 0.08), (64_000, 0.08)):
        before = records(chance, size)
        source, target = document(before), document(changed(before, 0.05, chance))
        assert len(encode(source, target)) < most * len(target)


def test_payloads_larger_than_any_message_decode() -> None:
    chance = random.Random(10)
    source = document(records(chance, 400_000))
    target = source[:100_000] + b"~" + source[200_000:] + source[100_000:150_000]
    delta = encode(source, target)
    assert rfc3284.decode(source, delta).target == target
    assert len(delta) < 200


def test_more_than_is_written_in_four_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vcdiff, "SIZE_MAX", 10)
    assert encode(b"12345", b"67890")
    with pytest.raises(ValueError, match="more than 10 bytes"):
        encode(b"12345", b"678901")


@given(st.integers(0, 2**31 - 1))
def test_integers_are_read_as_they_were_written(value: int) -> None:
    section = Section(integer(value))
    assert section.integer() == value
    assert not section


def test_the_integer_of_the_rfc() -> None:
    assert integer(123456789) == bytes((0b10111010, 0b11101111, 0b10011010, 0b00010101))
