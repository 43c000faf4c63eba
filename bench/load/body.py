"""What every message carries: of which publisher it is, the how manyth, and when it was due.

ASCII digits, so that it is the same in JSON and in binary: `publisher(6) sequence(10) due(20)`, a
space behind each, then filler up to the size asked for. Sequences begin at 0 and have no holes.
"""

import time
from typing import NamedTuple

_PUBLISHER, _SEQUENCE, _DUE = 6, 10, 20
_SEQUENCE_AT = _PUBLISHER + 1
_DUE_AT = _SEQUENCE_AT + _SEQUENCE + 1
HEAD_BYTES = _DUE_AT + _DUE + 1
_FILLER = b"The tide comes in twice a day and leaves a line in the sand. "
PUBLISHERS_MAX = 10**_PUBLISHER


class Body(NamedTuple):
    """due_ns: by CLOCK_MONOTONIC, when it was to be sent; latency counts from there."""

    publisher: int
    sequence: int
    due_ns: int


class NotOurs(ValueError):
    """These bytes were not made here."""


def filler(size: int) -> bytes:
    """What follows the head in a body of that size, which is at least HEAD_BYTES."""
    wanted = size - HEAD_BYTES
    return (_FILLER * (wanted // len(_FILLER) + 1))[:wanted]


def body(publisher: int, sequence: int, due_ns: int, rest: bytes = b"") -> bytes:
    return b"%06d %010d %020d %b" % (publisher, sequence, due_ns, rest)


def parse(received: bytes) -> Body:
    """Raises NotOurs."""
    try:
        return Body(
            int(received[:_PUBLISHER]),
            int(received[_SEQUENCE_AT : _SEQUENCE_AT + _SEQUENCE]),
            int(received[_DUE_AT : _DUE_AT + _DUE]),
        )
    except ValueError as error:
        raise NotOurs(f"{received[:HEAD_BYTES]!r} begins no message of this run") from error


now_ns = time.monotonic_ns
