"""What was acknowledged, held against what is in the log: a benchmark of lost messages is none.

Every message carries its number in front of its payload. Afterwards the log must hold exactly the
acknowledged numbers, each once, each under the serial that was returned for it, and the serials
that one publisher got must ascend, for it waited for one before it sent the next.
"""

from collections.abc import Iterable
from typing import NamedTuple

MESSAGE_BYTES = 256
_DIGITS = 12
_FILLER = "The tide comes in twice a day and leaves a line in the sand. " * 5


class Wrong(Exception):
    """The log does not hold what was acknowledged."""


class Stored(NamedTuple):
    number: int
    serial: int


def payload(number: int) -> str:
    """256 bytes of text that begin with the number."""
    return f"{number:0{_DIGITS}d}{_FILLER}"[:MESSAGE_BYTES]


def number_of(data: str | bytes) -> int:
    return int(data[:_DIGITS])


class Acknowledged:
    """One list of (number, serial) per publisher, in the order of the acknowledgements."""

    def __init__(self) -> None:
        self._publishers: list[list[Stored]] = []
        self.messages = 0

    def publisher(self, acknowledged: list[Stored]) -> None:
        self._publishers.append(acknowledged)
        self.messages += len(acknowledged)

    def check(self, stored: Iterable[Stored]) -> None:
        """Raises Wrong, saying how. `stored`: every message of the log in log order."""
        expected = self._expected()
        seen: set[int] = set()
        last = -1
        for number, serial in stored:
            if serial <= last:
                raise Wrong(f"serial {serial} follows {last} in the log")
            if number in seen:
                raise Wrong(f"message {number} is in the log twice")
            if number not in expected:
                raise Wrong(f"message {number} is in the log but was never acknowledged")
            if expected[number] != serial:
                raise Wrong(f"message {number} has serial {serial}, not {expected[number]}")
            seen.add(number)
            last = serial
        if lost := expected.keys() - seen:
            raise Wrong(f"{len(lost)} acknowledged messages are not in the log: {min(lost)}, …")

    def _expected(self) -> dict[int, int]:
        expected: dict[int, int] = {}
        for acknowledged in self._publishers:
            last = -1
            for number, serial in acknowledged:
                if serial <= last:
                    raise Wrong(f"message {number} was acknowledged out of order")
                if number in expected:
                    raise Wrong(f"message {number} was acknowledged twice")
                expected[number] = last = serial
        return expected
