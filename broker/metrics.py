"""What the broker counts about itself; read by operators, never by decisions."""

from collections import Counter
from dataclasses import dataclass

from storage import Outcome


@dataclass(slots=True)
class Metrics:
    messages_published: int = 0
    bytes_published: int = 0
    publishes_repeated: int = 0
    repeats_with_another_payload: int = 0
    streams_trimmed: int = 0
    history_reads: int = 0

    def published(self, messages: int, size_bytes: int, outcome: Outcome) -> None:
        if outcome.duplicate:
            self.publishes_repeated += 1
            self.repeats_with_another_payload += bool(outcome.reply)
        else:
            self.messages_published += messages
            self.bytes_published += size_bytes

    def swept(self, streams: int) -> None:
        self.streams_trimmed += streams


class Answers:
    """Requests by protocol and HTTP status; what was refused, by protocol and code of the error.
    All of these are ours, so that there are only so many."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.refusals: Counter[tuple[str, int]] = Counter()

    def request(self, protocol: str, status: int) -> None:
        self.requests[protocol, status] += 1

    def refused(self, protocol: str, code: int) -> None:
        self.refusals[protocol, code] += 1
