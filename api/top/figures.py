"""Two answers of the operation `top`, as rates and levels.

A rate is the difference of two counters by that of the broker's own time. It is None where there is
nothing to take it from: at the first answer, after the broker started again, and where counting
began anew.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Answer = dict[str, Any]
STARTED = "process_start_time_seconds"


class Answers(NamedTuple):
    """The last answer, and the one before it; `contains`: what each was asked with."""

    now: Answer
    before: Answer | None
    contains: tuple[str, str] = ("", "")

    @property
    def seconds(self) -> float | None:
        """Between the two; None when they cannot be compared."""
        if self.before is None:
            return None
        if self.before["metrics"].get(STARTED) != self.now["metrics"].get(STARTED):
            return None
        passed: float = self.now["at"] - self.before["at"]
        return passed if passed > 0 else None

    def level(self, name: str) -> float:
        return _total(self.now, name)

    def grown(self, name: str) -> float | None:
        if self.before is None or self.seconds is None:
            return None
        return _total(self.now, name) - _total(self.before, name)


def _total(answer: Answer, name: str) -> float:
    """A metric's value, over all labels."""
    metrics: dict[str, float] = answer["metrics"]
    labelled = f"{name}{{"
    return sum(value for key, value in metrics.items() if key == name or key.startswith(labelled))


Read = Callable[[Answers], float | None]


def _level(name: str) -> Read:
    return lambda answers: answers.level(name)


def _per_second(name: str) -> Read:
    return lambda answers: _quotient(answers.grown(name), answers.seconds)


def _each(amount: str, count: str) -> Read:
    """How much of one for one of the other, lately."""
    return lambda answers: _quotient(answers.grown(amount), answers.grown(count))


def _quotient(amount: float | None, by: float | None) -> float | None:
    return None if amount is None or not by else amount / by


def _uptime(answers: Answers) -> float | None:
    started = answers.now["metrics"].get(STARTED)
    return None if started is None else float(answers.now["time"] / 1000 - started)


# fmt: off
FIGURES: dict[str, Read] = {
    "ready": _level("tidelog_ready"),
    "uptimeSeconds": _uptime,
    "cpuShare": _per_second("process_cpu_seconds_total"),
    "residentBytes": _level("process_resident_memory_bytes"),
    "connections": _level("tidelog_connections"),
    "realtimeConnections": _level("tidelog_realtime_connections"),
    "attachments": _level("tidelog_attachments"),
    "slowConnections": _level("tidelog_slow_connections"),
    "outboxesBytes": _level("tidelog_outboxes_bytes"),
    "overflowsPerSecond": _per_second("tidelog_outbox_overflows_total"),
    "messagesInPerSecond": _per_second("tidelog_messages_published_total"),
    "bytesInPerSecond": _per_second("tidelog_messages_published_bytes_total"),
    "messagesOutPerSecond": _per_second("tidelog_messages_delivered_total"),
    "bytesOutPerSecond": _per_second("tidelog_messages_delivered_bytes_total"),
    "requestsPerSecond": _per_second("tidelog_http_requests_total"),
    "refusedPerSecond": _per_second("tidelog_refused_total"),
    "commitsPerSecond": _per_second("tidelog_commits_total"),
    "syncSeconds": _each("tidelog_commit_sync_seconds_total", "tidelog_commits_total"),
    "commandsWaiting": _level("tidelog_commands_waiting"),
    "logUsedBytes": _level("tidelog_log_used_bytes"),
    "logFileBytes": _level("tidelog_log_file_bytes"),
    "diskFreeBytes": _level("tidelog_disk_free_bytes"),
    "pushNotificationsWaiting": _level("tidelog_push_notifications_waiting"),
    "pushAttemptsWaiting": _level("tidelog_push_attempts_waiting"),
    "pushAttemptsPerSecond": _per_second("tidelog_push_attempts_total"),
    "pushOpenCircuits": _level("tidelog_push_open_circuits"),
}
# fmt: on


class ChannelRates(NamedTuple):
    app: str
    channel: str
    messages_in_per_second: float | None
    messages_out_per_second: float | None
    attachments: int
    members: int


def figures(answers: Answers) -> dict[str, float | None]:
    return {name: read(answers) for name, read in FIGURES.items()}


def channels(answers: Answers) -> list[ChannelRates]:
    return list(_channels(answers))


def _channels(answers: Answers) -> Iterator[ChannelRates]:
    known = _counts(answers.before)
    absent = (0, 0) if _was_whole(answers) else None
    for one in answers.now["channels"]:
        before = known.get((one["app"], one["channel"]), absent)
        counts = (one["messages_in"], one["messages_out"])
        yield ChannelRates(
            one["app"],
            one["channel"],
            *_rates(counts, before, answers.seconds),
            one["attachments"],
            one["members"],
        )


def _counts(answer: Answer | None) -> dict[tuple[str, str], tuple[int, int]]:
    return {
        (one["app"], one["channel"]): (one["messages_in"], one["messages_out"])
        for one in (answer or {"channels": ()})["channels"]
    }


def _was_whole(answers: Answers) -> bool:
    """A channel that the answer before did not have had no messages then."""
    before = answers.before
    wanted, wanted_before = answers.contains
    return (
        before is not None
        and wanted_before in wanted
        and len(before["channels"]) == before["found"]
    )


def _rates(
    now: tuple[int, int], before: tuple[int, int] | None, seconds: float | None
) -> tuple[float | None, float | None]:
    if before is None or seconds is None or any(n < b for n, b in zip(now, before, strict=True)):
        return None, None
    return (now[0] - before[0]) / seconds, (now[1] - before[1]) / seconds
