"""The one place where the log's errors become the broker's, by who must act."""

from collections.abc import Iterator
from contextlib import contextmanager

from broker.errors import BrokerError, Overloaded, Unavailable
from storage import (
    ClockBehind,
    Damaged,
    FormatError,
    LogBehind,
    LogClosed,
    LogFailed,
    LogFull,
    LogLocked,
    QueueFull,
    StorageError,
)

INTERNAL = 50000
TIMEOUT = 50003
CLOSED = 80017
WRITE_RATE = 42913


class DamagedLog(BrokerError):
    """A stored record does not have the bytes that were written; it is not served."""

    def __init__(self, message: str) -> None:
        super().__init__(message, INTERNAL, 500)


_CODES: dict[type[StorageError], int] = {
    LogFull: TIMEOUT,
    LogFailed: TIMEOUT,
    ClockBehind: TIMEOUT,
    LogLocked: TIMEOUT,
    LogBehind: TIMEOUT,
    FormatError: TIMEOUT,
    LogClosed: CLOSED,
}


@contextmanager
def mapped() -> Iterator[None]:
    try:
        yield
    except QueueFull as error:
        raise Overloaded(f"too many publishes are waiting: {error}", WRITE_RATE) from error
    except Damaged as error:
        raise DamagedLog(str(error)) from error
    except StorageError as error:
        raise Unavailable(str(error), _CODES.get(type(error), TIMEOUT)) from error
