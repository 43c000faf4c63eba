"""The audit log: who administered this broker, what they did, when, and what came of it.

A stream of its own, kept for good unless `audit_retention_ms` says otherwise. An action is written
down twice: before it is done, so that none goes unseen if the process dies meanwhile, and when it
is over. Appending is the only thing that can be done to it. Refuses to decide what is told of an
action: secrets are left out by who records it (api.admin.audit).
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from broker.audit_events import AdminActed
from broker.event import Kind
from broker.storage_errors import mapped
from storage import Decision, Log, Outcome, Rows, Span, Stream
from storage.projection import Decide
from storage.serial import SERIAL_MAX, ms_of

STREAM = Stream("", "", Kind.AUDIT)


class RecordAction(msgspec.Struct, frozen=True):
    event: AdminActed


def record(rows: Rows, command: RecordAction, ms: int) -> Decision:
    return Decision([(STREAM, command.event)])


class Recorded(NamedTuple):
    ms: int
    event: AdminActed


class AuditPage(NamedTuple):
    """Newest first. cursor: behind what the next page begins; None at the end."""

    items: list[Recorded]
    cursor: int | None


class Audit:
    def __init__(self, log: Log, submit: Callable[..., Awaitable[Outcome]]) -> None:
        self._log = log
        self._submit = submit

    async def record(self, event: AdminActed) -> None:
        """Returns once it is on disk. Raises Overloaded, Unavailable."""
        await self._submit(RecordAction(event), app="")

    async def page(self, limit: int, cursor: int | None = None) -> AuditPage:
        span = Span(last=SERIAL_MAX if cursor is None else cursor - 1, reverse=True)
        with mapped():
            page = await self._log.read(STREAM, span, limit=limit)
        items = [Recorded(ms_of(item.serial), item.event) for item in page.records if item.event]
        return AuditPage(items, page.last if page.more else None)


DECIDE: dict[type, Decide] = {RecordAction: record}
