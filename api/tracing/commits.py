"""Spans of what is appended, and of the commits that put it on disk.

One for each job of the log, `append Publish`: from when it is handed over until it is on disk and
delivered; within the request that it came with, or alone when it came over a connection. And one
for each commit that such jobs were in, `commit`: as a child of the first of them, with links to the
others, for a commit is theirs together.
"""

from collections.abc import Sequence
from time import time_ns
from typing import Any, Protocol

from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.trace import Link, Span, SpanKind, Tracer, set_span_in_context

from broker import BrokerError
from broker.limits.only_if_known import OnlyIfKnown

LINKS_MAX = 128
APP, COMMANDS, RECORDS = "tidelog.app", "tidelog.commands", "tidelog.records"
REFUSED, CHANNEL = "tidelog.refused", "tidelog.channel"


class Job(Protocol):
    """What the log is given to do."""

    commands: Sequence[Any]
    app: str
    done: Any


class Commit(Protocol):
    records: list[Any]
    jobs: list[Any]
    took_s: float


class _Append:
    """In place of a job's `done`."""

    __slots__ = ("_done", "span")

    def __init__(self, span: Span, done: Any) -> None:
        self.span = span
        self._done = done

    def __call__(self, results: list[Any]) -> None:
        refused = [result for result in results if isinstance(result, Exception)]
        if refused:
            self.span.set_attribute(REFUSED, len(refused))
            self.span.set_attribute(error_attributes.ERROR_TYPE, _named(refused[0]))
        self.span.end()
        self._done(results)


class Commits:
    """What a log tells of itself."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def enqueued(self, job: Job) -> None:
        commands = [_bare(command) for command in job.commands]
        attributes: dict[str, str | int] = {COMMANDS: len(commands)}
        if job.app:
            attributes[APP] = job.app
        channels = {getattr(command, "channel", None) for command in commands}
        if len(channels) == 1 and isinstance(only := channels.pop(), str):
            attributes[CHANNEL] = only
        name = f"append {type(commands[0]).__name__}"
        span = self._tracer.start_span(name, None, SpanKind.INTERNAL, attributes)
        job.done = _Append(span, job.done)

    def committed(self, commit: Commit) -> None:
        spans = [job.done.span for job in commit.jobs if isinstance(job.done, _Append)]
        recorded = [span for span in spans if span.is_recording()]
        if not recorded:
            return
        first, *others = recorded
        now_ns = time_ns()
        span = self._tracer.start_span(
            "commit",
            set_span_in_context(first),
            SpanKind.INTERNAL,
            {COMMANDS: sum(len(job.commands) for job in commit.jobs), RECORDS: len(commit.records)},
            [Link(other.get_span_context()) for other in others[:LINKS_MAX]],
            now_ns - int(commit.took_s * 1e9),
        )
        span.end(now_ns)


def _bare(command: Any) -> Any:
    return command.command if isinstance(command, OnlyIfKnown) else command


def _named(error: Exception) -> str:
    """By what it is: its words may tell what somebody sent."""
    return str(error.code) if isinstance(error, BrokerError) else type(error).__name__
