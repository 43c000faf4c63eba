"""The few things that can come of an attempt, named once, for the tables of the transports.

Each pairs a verdict with the code that the device's error and the log carry
(reference push.md 3.7).
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from broker.push.transport import (
    BAD_BODY,
    BAD_CREDENTIALS,
    NO_RECIPIENT,
    NOT_CONFIGURED,
    PAYLOAD_REJECTED,
    TOKEN_INVALID,
    UNREACHABLE,
    Result,
    Verdict,
)


class NotSent(Exception):
    """Raised within this room from wherever it is known what came of an attempt."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.message)
        self.result = result


class Outcome(NamedTuple):
    verdict: Verdict
    code: int

    def result(self, message: str, retry_after_ms: int | None = None) -> Result:
        return Result(
            verdict=self.verdict, code=self.code, message=message, retry_after_ms=retry_after_ms
        )

    def because(self, message: str) -> NotSent:
        """Where there was no answer. What is final all the same was refused here."""
        is_silent = self.verdict in (Verdict.DEAD, Verdict.REJECTED)
        return NotSent(msgspec.structs.replace(self.result(message), is_silent=is_silent))


DEAD_ADDRESS = Outcome(Verdict.DEAD, TOKEN_INVALID)
NO_ADDRESS = Outcome(Verdict.DEAD, NO_RECIPIENT)
UNAVAILABLE = Outcome(Verdict.TRANSIENT, UNREACHABLE)
TAKEN_BACK = Outcome(Verdict.TRANSIENT, TOKEN_INVALID)
BAD_PAYLOAD = Outcome(Verdict.REJECTED, BAD_BODY)
REFUSED = Outcome(Verdict.REJECTED, PAYLOAD_REJECTED)
WRONG_KEY = Outcome(Verdict.REJECTED, BAD_CREDENTIALS)
NOT_ALLOWED = Outcome(Verdict.REJECTED, NOT_CONFIGURED)
NOT_ACCEPTED = Outcome(Verdict.MISCONFIGURED, BAD_CREDENTIALS)


def by_status(table: Mapping[int, Outcome], status: int) -> Outcome:
    """What a table says of a status; what it does not name goes by the status's class."""
    return table.get(status, UNAVAILABLE if status >= 500 else REFUSED)
