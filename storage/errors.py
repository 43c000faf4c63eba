"""What can go wrong with a log, by who must act. `broker` maps these to its own errors once."""


class StorageError(Exception):
    """Base of everything the log raises on purpose."""


class QueueFull(StorageError):
    """The write queue is at its bound; nothing of this command was kept. Try again later."""


class LogFull(StorageError):
    """`max_bytes` is reached or the disk is full. Reads go on; writes resume when there is room."""


class LogFailed(StorageError):
    """A commit met an I/O error. Final: whether its records are on disk is unknown, no later
    write is accepted, and the process should exit. Reads go on."""


class LogClosed(StorageError):
    """The log was closed. For a submitted command the outcome is unknown."""


class ClockBehind(StorageError):
    """The wall clock is further behind the last serial than the stated bound."""


class Damaged(StorageError):
    """A stored record, row or page does not have the bytes that were written. It is not served."""


class LogLocked(StorageError):
    """Another process has the data directory open for writing."""


class LogBehind(StorageError):
    """The log ends before a commit that was acknowledged: acknowledged records are missing."""


class FormatError(StorageError):
    """The data directory was written by a version this one cannot read."""
