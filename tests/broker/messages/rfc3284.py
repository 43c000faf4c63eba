"""A decoder of VCDIFF written from RFC 3284 alone, which takes nothing on trust.

The decoders of the SDKs are lenient: neither minds a target of another length than was said, nor
sections that are longer than what is read of them. Here every byte must be accounted for.
"""

from collections.abc import Iterator
from typing import NamedTuple

NOTHING, ADD, RUN, COPY = range(4)


class Instruction(NamedTuple):
    sort: int
    size: int = 0
    mode: int = 0


def _default_code_table() -> Iterator[tuple[Instruction, Instruction]]:
    """5.6, in its order."""
    nothing = Instruction(NOTHING)
    yield Instruction(RUN), nothing
    for size in range(18):
        yield Instruction(ADD, size), nothing
    for mode in range(9):
        for size in (0, *range(4, 19)):
            yield Instruction(COPY, size, mode), nothing
    for mode in range(6):
        for add in range(1, 5):
            for copy in range(4, 7):
                yield Instruction(ADD, add), Instruction(COPY, copy, mode)
    for mode in range(6, 9):
        for add in range(1, 5):
            yield Instruction(ADD, add), Instruction(COPY, 4, mode)
    for mode in range(9):
        yield Instruction(COPY, 4, mode), Instruction(ADD, 1)


TABLE = tuple(_default_code_table())
assert len(TABLE) == 256


class Section:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        assert len(taken) == size, "beyond the end"
        self._at += size
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def integer(self) -> int:
        value, first = 0, True
        while True:
            byte = self.byte()
            assert not (first and byte == 0x80), "not the shortest way to write it"
            value, first = value << 7 | byte & 0x7F, False
            if byte < 0x80:
                return value


class Cache:
    """5.1 and 5.3."""

    def __init__(self) -> None:
        self._near = [0] * 4
        self._next = 0
        self._same = [0] * 768

    def decode(self, mode: int, here: int, addresses: Section) -> int:
        if mode == 0:
            address = addresses.integer()
        elif mode == 1:
            address = here - addresses.integer()
        elif mode < 6:
            address = self._near[mode - 2] + addresses.integer()
        else:
            address = self._same[(mode - 6) * 256 + addresses.byte()]
        assert 0 <= address < here, "an address of nothing that is there"
        self._near[self._next] = address
        self._next = (self._next + 1) % 4
        self._same[address % 768] = address
        return address


class Decoded(NamedTuple):
    target: bytes
    sorts: tuple[int, ...]
    modes: tuple[int, ...]


def decode(source: bytes, delta: bytes) -> Decoded:
    """Of one window. Asserts whatever the RFC says of it, and what we say of it besides."""
    whole = Section(delta)
    assert whole.take(5) == b"\xd6\xc3\xc4\x00\x00"
    segment = b""
    indicator = whole.byte()
    assert indicator == (1 if source else 0)
    if indicator:
        size, position = whole.integer(), whole.integer()
        segment = source[position : position + size]
        assert len(segment) == size
    encoding = Section(whole.take(whole.integer()))
    assert not whole
    size = encoding.integer()
    assert encoding.byte() == 0
    sizes = [encoding.integer() for _ in range(3)]
    data, instructions, addresses = (Section(encoding.take(length)) for length in sizes)
    assert not encoding
    decoded = _window(segment, data, instructions, addresses)
    assert len(decoded.target) == size
    assert not data
    assert not addresses
    return decoded


def _window(segment: bytes, data: Section, instructions: Section, addresses: Section) -> Decoded:
    here, cache = bytearray(segment), Cache()
    sorts, modes = [], []
    while instructions:
        for sort, fixed, mode in TABLE[instructions.byte()]:
            if sort == NOTHING:
                continue
            size = fixed or instructions.integer()
            assert size > 0
            sorts.append(sort)
            if sort == ADD:
                here += data.take(size)
            elif sort == RUN:
                here += data.take(1) * size
            else:
                address = cache.decode(mode, len(here), addresses)
                modes.append(mode)
                for at in range(address, address + size):
                    here.append(here[at])
    return Decoded(bytes(here[len(segment) :]), tuple(sorts), tuple(modes))
