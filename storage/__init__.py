"""The log: records, keys, transactions, fsync. Calls `decide` and `fold`, knows no meaning."""

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
from storage.log import Log, open_log
from storage.projection import Decision, Domain, OnTrim, Outcome, Projection, Rows, Table
from storage.reading import Page, Span
from storage.record import Record, Stream
from storage.retention import Cut, Retention
from storage.settings import LogSettings, setting
from storage.view import View

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
