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
from storage.link import Codec, serve_link
from storage.local import LocalLog, open_log
from storage.log import Log
from storage.projection import Decision, Domain, OnTrim, Outcome, Projection, Rows, Table
from storage.reading import Page, Span
from storage.record import Record, Stream
from storage.remote import RemoteLog, open_remote
from storage.retention import Cut, Retention
from storage.settings import LogSettings, setting
from storage.view import View

__all__ = [
    "ClockBehind",
    "Codec",
    "Cut",
    "Damaged",
    "Decision",
    "Domain",
    "FormatError",
    "LocalLog",
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
    "RemoteLog",
    "Retention",
    "Rows",
    "Span",
    "StorageError",
    "Stream",
    "Table",
    "View",
    "free_disk_bytes",
    "open_log",
    "open_remote",
    "serve_link",
    "setting",
]
