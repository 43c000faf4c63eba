"""The log: records, keys, transactions, fsync. Calls `decide` and `fold`, knows no meaning.

`Log` and `open_log` are found when they are first asked for. They need trio, which takes as long to
import as all the rest; the checker that every open waits for (storage.probe) does not.
"""

from typing import TYPE_CHECKING, Any

from storage.engine import free_disk_bytes
from storage.errors import (
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
from storage.projection import Decision, Domain, OnTrim, Outcome, Projection, Rows, Table
from storage.reading import Page, Span
from storage.record import Record, Stream
from storage.retention import Cut, Retention
from storage.settings import LogSettings, setting
from storage.view import View

if TYPE_CHECKING:
    from storage.log import Log, open_log

__all__ = [
    "ClockBehind",
    "Cut",
    "Damaged",
    "Decision",
    "Domain",
    "FormatError",
    "Log",
    "LogBehind",
    "LogClosed",
    "LogFailed",
    "LogFull",
    "LogLocked",
    "LogSettings",
    "OnTrim",
    "Outcome",
    "Page",
    "Projection",
    "QueueFull",
    "Record",
    "Retention",
    "Rows",
    "Span",
    "StorageError",
    "Stream",
    "Table",
    "View",
    "free_disk_bytes",
    "open_log",
    "setting",
]


def __getattr__(name: str) -> Any:
    if name not in ("Log", "open_log"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from storage import log

    return getattr(log, name)
