"""The one place where the log's errors become the broker's, by who must act."""

import logging
from types import TracebackType

from broker.errors import BrokerError, InUse, Overloaded, Unavailable
from storage import (
    ClockBehind,
    Damaged,
    FormatError,
    LogBehind,
    LogClosed,
    LogFailed,
    LogFull,
    LogLocked,
    Outcome,
    QueueFull,
    StorageError,
)

INTERNAL = 50000
TIMEOUT = 50003
CLOSED = 80017


logger = logging.getLogger("tidelog.broker")


class DamagedLog(BrokerError):
    """A stored record does not have the bytes that were written; it is not served."""

    def __init__(self, message: str) -> None:
        super().__init__(message, INTERNAL, 500)


_CODES: dict[type[StorageError], int] = {
    LogFull: TIMEOUT,
    LogFailed: TIMEOUT,
    ClockBehind: TIMEOUT,
    LogBehind: TIMEOUT,
    FormatError: TIMEOUT,
    LogClosed: CLOSED,
}


class mapped:  # noqa: N801 - used as a verb: with mapped(): ...
    """Raises the log's errors as the broker's. A class, for it is in the way of every publish."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, StorageError):
            raise _as_broker_error(error) from error


def as_result(result: Outcome | Exception) -> Outcome | BrokerError:
    """What became of a command, as the broker's callers are told."""
    if isinstance(result, Outcome):
        return result
    if isinstance(result, StorageError):
        return _as_broker_error(result)
    if isinstance(result, BrokerError):
        return result
    logger.error("a command failed", exc_info=result)
    return BrokerError("internal error", INTERNAL, 500)


def _as_broker_error(error: StorageError) -> BrokerError:
    if isinstance(error, QueueFull):
        return Overloaded(f"too many publishes are waiting: {error}")
    if isinstance(error, Damaged):
        return DamagedLog(str(error))
    if isinstance(error, LogLocked):
        return InUse(str(error), TIMEOUT)
    return Unavailable(str(error), _CODES.get(type(error), TIMEOUT))
