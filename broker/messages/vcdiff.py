"""VCDIFF (RFC 3284): a payload written as what it takes to make it from the one before (RTL18).

    header   d6 c3 c4 00 00: version 0; no secondary compression, no code table, no application data
    window   one, of all the target, against all the source (VCD_SOURCE), or against nothing when
             the source is empty; sections of data, instructions and addresses; no checksum

`broker.messages.matching` says what is copied from the source; what is between is added, or, where
it is one byte over and over, run. Addresses are written in whichever mode of the address cache is
shortest (RFC 3284 5.3). Instructions are those of the default code table (5.6); of its pairs we
have no use, as they are for copies shorter than any of ours.

Invariants: what a decoder makes of a delta and its source is the target, byte for byte. The same
input gives the same delta. A delta is at most OVERHEAD_BYTES longer than its target. Time is linear
in both, whatever they hold.

Refuses to do: copy from the target itself (VCD_TARGET, which ably-js refuses; and copies that
overlap what they write), more than one window, or more than SIZE_MAX bytes. Whether a delta is
worth its trouble, and of which payloads, is for others to say.
"""

from broker.messages.matching import MATCH_MIN, Match, Search, Searched

# Of source and target together: integers of at most four bytes; ably-js reads no more than 31 bits.
SIZE_MAX = (1 << 28) - 1
OVERHEAD_BYTES = 40

_HEADER = b"\xd6\xc3\xc4\x00\x00"
_VCD_SOURCE = b"\x01"
# The default code table: RUN, ADD, and COPY by mode; those with a size of their own are followed
# by one when it is 0.
_RUN = 0
_ADD, _ADD_MAX = 1, 17
_COPY, _COPY_MIN, _COPY_MAX, _COPY_CODES = 19, 4, 18, 16
# Address modes: as it is, from here backwards, from one of the last four on, one that was had.
_SELF, _HERE, _NEAR, _SAME = 0, 1, 2, 6
_NEAR_SIZE, _SAME_SIZE = 4, 3 * 256


def encode(source: bytes, target: bytes) -> bytes:
    """The delta that makes `target` of `source`. As `Source.encode`."""
    return Source(source).encode(target)


class Source:
    """What deltas are made against. What is learnt of it for one is kept for the next."""

    def __init__(self, data: bytes) -> None:
        self._searched = Searched(data)

    def encode(self, target: bytes) -> bytes:
        """Raises ValueError if source and target hold more than SIZE_MAX bytes together."""
        source = self._searched.data
        if len(source) + len(target) > SIZE_MAX:
            raise ValueError(f"a delta of more than {SIZE_MAX} bytes")
        window = _Window(len(source))
        at = 0
        for match in Search(self._searched, target).matches():
            window.add(target[at : match.target])
            window.copy(match)
            at = match.target + match.length
        window.add(target[at:])
        return window.delta(len(target))


class _Window:
    """The sections of a window, while it is written. `_here`: how far, the source before it."""

    def __init__(self, source_size: int) -> None:
        self._source_size = source_size
        self._here = source_size
        self._data = bytearray()
        self._instructions = bytearray()
        self._addresses = bytearray()
        self._cache = _AddressCache()

    def add(self, data: bytes) -> None:
        """Data that begins or ends with one byte over and over has that run."""
        self._here += len(data)
        rest = data.lstrip(data[:1])
        if len(data) - len(rest) >= MATCH_MIN:
            self._run(data[:1], len(data) - len(rest))
            data = rest
        rest = data.rstrip(data[-1:])
        if len(data) - len(rest) >= MATCH_MIN:
            self._add(rest)
            self._run(data[-1:], len(data) - len(rest))
        else:
            self._add(data)

    def _add(self, data: bytes) -> None:
        size = len(data)
        if not size:
            return
        if size <= _ADD_MAX:
            self._instructions.append(_ADD + size)
        else:
            self._instructions.append(_ADD)
            self._instructions += integer(size)
        self._data += data

    def _run(self, byte: bytes, size: int) -> None:
        self._instructions.append(_RUN)
        self._instructions += integer(size)
        self._data += byte

    def copy(self, match: Match) -> None:
        mode, address = self._cache.encode(match.source, self._here)
        size, code = match.length, _COPY + mode * _COPY_CODES
        if size <= _COPY_MAX:
            self._instructions.append(code + size - _COPY_MIN + 1)
        else:
            self._instructions.append(code)
            self._instructions += integer(size)
        self._addresses += address
        self._here += size

    def delta(self, target_size: int) -> bytes:
        sections = (self._data, self._instructions, self._addresses)
        sizes = b"".join(integer(len(section)) for section in sections)
        # The 0 says that no section is compressed.
        encoding = b"".join((integer(target_size), b"\0", sizes, *sections))
        segment = b"\0"
        if self._source_size:
            segment = _VCD_SOURCE + integer(self._source_size) + integer(0)
        return b"".join((_HEADER, segment, integer(len(encoding)), encoding))


class _AddressCache:
    """The addresses that a decoder remembers (RFC 3284 5.1): all are 0 at first."""

    def __init__(self) -> None:
        self._near = [0] * _NEAR_SIZE
        self._oldest = 0
        self._same: dict[int, int] = {}

    def encode(self, address: int, here: int) -> tuple[int, bytes]:
        """(mode, what is written)."""
        slot = address % _SAME_SIZE
        if self._same.get(slot, 0) == address:
            found = _SAME + slot // 256, bytes((slot % 256,))
        else:
            found = self._nearest(address, here)
        self._near[self._oldest] = address
        self._oldest = (self._oldest + 1) % _NEAR_SIZE
        self._same[slot] = address
        return found

    def _nearest(self, address: int, here: int) -> tuple[int, bytes]:
        mode, value = _SELF, address
        if here - address < value:
            mode, value = _HERE, here - address
        for number, known in enumerate(self._near, _NEAR):
            if 0 <= address - known < value:
                mode, value = number, address - known
        return mode, integer(value)


def integer(value: int) -> bytes:
    """As RFC 3284 writes one (2): seven bits a byte, the high ones first, the last with no flag."""
    if value < 0x80:
        return bytes((value,))
    if value < 0x4000:
        return bytes((value >> 7 | 0x80, value & 0x7F))
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))
