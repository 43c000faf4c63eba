"""The log: records, keys, transactions, fsync. Calls `decide` and `fold`, knows no meaning.

Logs are found when they are first asked for. They need trio, which takes as long to import as all
the rest; the checker that every open waits for (storage.probe) does not.
"""

from importlib import import_module
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
    from storage.link import Codec, serve_link
    from storage.local import LocalLog, open_log
    from storage.log import Log
    from storage.remote import RemoteLog, open_remote

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


_MODULES = {
    "Codec": "link",
    "LocalLog": "local",
    "Log": "log",
    "RemoteLog": "remote",
    "open_log": "local",
    "open_remote": "remote",
    "serve_link": "link",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"storage.{_MODULES[name]}"), name)
