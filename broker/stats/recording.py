"""Commands that put usage into the log, and what they come to.

What was counted is recorded together with how far was counted, in one transaction: after any crash
the log says what still has to be. A recording is decided once: `number` tells a repeat.

Refuses to record for an app that does not exist (any more).
"""

import msgspec

from broker import tenancy
from broker.events import StatsCounted, StatsRecorded, StatsRemoved
from broker.stats.counters import Counters
from broker.stats.projections import CURSOR_STREAM, cursor, day_stream
from storage import Decision, Rows, Stream
from storage.projection import Decide


class MinuteCounts(msgspec.Struct, frozen=True):
    app: str
    minute_ms: int
    counters: Counters


class RecordStats(msgspec.Struct, frozen=True):
    """What was counted since recording `number` - 1, up to serial `through`."""

    number: int
    through: int
    minutes: tuple[MinuteCounts, ...]


class AddStats(msgspec.Struct, frozen=True):
    """Usage that nobody counted: a test suite's. All of one app."""

    app: str
    minutes: tuple[MinuteCounts, ...]


class RemoveStats(msgspec.Struct, frozen=True):
    """Of a deleted app, after its streams were trimmed."""

    app: str
    days: tuple[Stream, ...]


def record(rows: Rows, command: RecordStats, ms: int) -> Decision:
    known = cursor(rows)
    if known is not None and known.number >= command.number:
        return Decision()
    apps = {minute.app for minute in command.minutes}
    existing = {app for app in apps if tenancy.app_exists(rows, app)}
    events = [_recorded(minute) for minute in command.minutes if minute.app in existing]
    events.append((CURSOR_STREAM, StatsCounted(command.through, command.number)))
    return Decision(events)


def add(rows: Rows, command: AddStats, ms: int) -> Decision:
    tenancy.require_app(rows, command.app)
    return Decision([_recorded(minute) for minute in command.minutes])


def _recorded(minute: MinuteCounts) -> tuple[Stream, object]:
    event = StatsRecorded(minute.minute_ms, minute.counters)
    return day_stream(minute.app, minute.minute_ms), event


def remove(rows: Rows, command: RemoveStats, ms: int) -> Decision:
    return Decision([(stream, StatsRemoved()) for stream in command.days])


DECIDE: dict[type, Decide] = {RecordStats: record, AddStats: add, RemoveStats: remove}
