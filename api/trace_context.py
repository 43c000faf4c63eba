"""What the rest of the server knows of traces, whether or not there are any.

Imports nothing of OpenTelemetry: with traces off, nothing is. What records traces (api.tracing)
sets these; whoever answers a request notes what it was, and whoever writes a log line or calls a
webhook reads which trace it belongs to.
"""

from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

SCOPE_KEY = "tidelog.trace"

traceparent: ContextVar[str] = ContextVar("traceparent", default="")
"""Of the span that goes on, as W3C Trace Context writes it; empty for none."""


@dataclass(slots=True)
class Note:
    """What a request turned out to be. Never its path: that may hold a secret."""

    route: str | None = None
    app: str | None = None
    code: int | None = None


def noted(scope: Mapping[str, Any]) -> Note | None:
    """Where to note it; None when nobody wants to know."""
    found = scope.get(SCOPE_KEY)
    return found if isinstance(found, Note) else None


def with_note(scope: MutableMapping[str, Any], note: Note) -> dict[str, Any]:
    return {**scope, SCOPE_KEY: note}


def trace_headers() -> dict[str, str]:
    """For a request that is made on behalf of the span that goes on."""
    value = traceparent.get()
    return {"traceparent": value} if value else {}


def trace_id() -> str | None:
    value = traceparent.get()
    return value.split("-")[1] if value else None
