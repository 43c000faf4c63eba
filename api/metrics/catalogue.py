"""Every metric there is: its name, kind, labels, help, and where its numbers are read.

What is counted is counted elsewhere, where it happens; here it is only named. docs/metrics.md lists
this table. A counter begins at 0 with the process.

Refuses to tell tenants apart: no label names an app, a channel, a client or an endpoint, so whoever
reads the numbers learns nothing about any of them, and there are only so many series.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from api.admission import Admission
from api.metrics.loop_lag import LoopLag
from api.realtime.server import Realtime
from api.version import tidelog_version
from broker import Broker
from broker.measures import Measures


@dataclass(frozen=True)
class Sources:
    """Where numbers are read. `spans`: what became of those of traces; nothing when that is off."""

    broker: Broker
    admission: Admission
    realtime: Realtime
    loop_lag: LoopLag
    spans: Callable[[], Mapping[str, int]] = dict


class Moment(NamedTuple):
    """The sources, and what had to be measured for one answer."""

    sources: Sources
    measured: Measures

    @property
    def broker(self) -> Broker:
        return self.sources.broker


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


Series = Iterable[tuple[tuple[str, ...], float]]
"""Values by the values of their labels."""


class Metric(NamedTuple):
    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    read: Callable[[Moment], Any]  # a Series; of a histogram, what LoopLag is


def _counter(name: str, text: str, read: Callable[[Moment], float]) -> Metric:
    return Metric(name, Kind.COUNTER, text, (), lambda now: (((), read(now)),))


def _gauge(name: str, text: str, read: Callable[[Moment], float]) -> Metric:
    return Metric(name, Kind.GAUGE, text, (), lambda now: (((), read(now)),))


def _counters(
    name: str, text: str, labels: tuple[str, ...], read: Callable[[Moment], Mapping[Any, int]]
) -> Metric:
    return Metric(name, Kind.COUNTER, text, labels, lambda now: _series(read(now)))


def _series(counts: Mapping[Any, int]) -> Series:
    for key, count in counts.items():
        values = key if isinstance(key, tuple) else (key,)
        yield tuple(str(getattr(value, "value", value)) for value in values), count


def _written(name: str) -> Callable[[Moment], float]:
    return lambda now: float(getattr(now.broker.log.metrics, name))


def _kept(name: str) -> Callable[[Moment], float]:
    return lambda now: float(getattr(now.broker.metrics, name))


def _delivered(place: int) -> Callable[[Moment], float]:
    return lambda now: now.broker.epoch.activity.delivered_in_all[place]


def _build(_: Moment) -> Series:
    yield (tidelog_version(),), 1


# fmt: off
METRICS: tuple[Metric, ...] = (
    Metric("tidelog_build_info", Kind.GAUGE, "1, with the version as a label.",
           ("version",), _build),
    _gauge("tidelog_ready", "1 while writes are taken, 0 when writing has failed.",
           lambda now: now.broker.failure is None),

    _counter("tidelog_commits_total", "Commits of the log, each one fsync.", _written("commits")),
    _counter("tidelog_commit_sync_seconds_total", "How long those took to be on disk.",
             _written("sync_s")),
    _counter("tidelog_commands_total", "Commands that were decided.", _written("commands")),
    _counter("tidelog_records_total", "Records appended to the log.", _written("records")),
    _counter("tidelog_commands_duplicate_total", "Commands whose event was there already.",
             _written("duplicates")),
    _counter("tidelog_commands_refused_total", "Commands that the state of things forbade.",
             _written("refused")),
    _counter("tidelog_commands_without_room_total", "Commands refused for lack of disk.",
             _written("full")),
    _gauge("tidelog_commands_waiting", "Commands that wait for the next commit.",
           lambda now: now.broker.log.queued),
    _gauge("tidelog_log_position_seconds", "Time of the last record, in seconds since 1970.",
           lambda now: now.measured.position_ms / 1000),
    _gauge("tidelog_delivery_position_seconds", "Time of the last record handed to subscribers.",
           lambda now: now.measured.handed_on_ms / 1000),
    _gauge("tidelog_log_used_bytes", "What live pages of the log's file take.",
           lambda now: now.measured.used_bytes),
    _gauge("tidelog_log_file_bytes", "Size of the log's file; `tidelog compact` shrinks it.",
           lambda now: now.measured.file_bytes),
    _gauge("tidelog_disk_free_bytes", "What is free on the disk that holds the log.",
           lambda now: now.measured.free_bytes),
    _counter("tidelog_streams_trimmed_total", "Streams from which old records were removed.",
             _kept("streams_trimmed")),

    _counter("tidelog_messages_published_total", "Messages that were published and stored.",
             _kept("messages_published")),
    _counter("tidelog_messages_published_bytes_total", "Their size.", _kept("bytes_published")),
    _counter("tidelog_publishes_repeated_total", "Publishes with an id that was there already.",
             _kept("publishes_repeated")),
    _counter("tidelog_publishes_repeated_differing_total", "Of those, with another payload.",
             _kept("repeats_with_another_payload")),
    _counter("tidelog_messages_delivered_total", "Messages passed on to connections.",
             _delivered(0)),
    _counter("tidelog_messages_delivered_bytes_total", "Their payloads.", _delivered(1)),
    _counter("tidelog_presence_delivered_total", "Presence messages passed on to connections.",
             _delivered(2)),
    _counter("tidelog_presence_delivered_bytes_total", "Their payloads.", _delivered(3)),
    _counter("tidelog_history_reads_total", "Pages of history that were asked for.",
             _kept("history_reads")),

    _gauge("tidelog_connections", "Open connections, HTTP and realtime.",
           lambda now: len(now.sources.admission.connections)),
    _gauge("tidelog_connections_unauthenticated", "Those that showed no valid credentials yet.",
           lambda now: now.sources.admission.unauthenticated),
    _gauge("tidelog_connections_opening", "WebSockets that are being opened.",
           lambda now: now.sources.admission.opening),
    _counters("tidelog_connections_refused_total", "Connections turned away, by limit.", ("limit",),
              lambda now: now.sources.admission.refused),
    _gauge("tidelog_realtime_connections", "Realtime connections.",
           lambda now: len(now.sources.realtime.sessions)),
    _gauge("tidelog_attachments", "Channels attached, over all connections and subscribers.",
           lambda now: now.broker.epoch.hub.followers),
    _gauge("tidelog_slow_connections", "Realtime connections that read on from disk.",
           lambda now: now.sources.realtime.catching_up),
    _gauge("tidelog_outboxes_bytes", "Queued for all realtime connections together.",
           lambda now: now.sources.realtime.budget.used_bytes),
    _counter("tidelog_outbox_overflows_total",
             "How often what was queued for a connection was dropped, to be read from disk later.",
             lambda now: now.sources.realtime.budget.overflows),

    _counters("tidelog_http_requests_total", "HTTP requests, by API and status.",
              ("protocol", "status"), lambda now: now.broker.answers.requests),
    _counters("tidelog_refused_total", "Requests refused, by API and code of the error.",
              ("protocol", "code"), lambda now: now.broker.answers.refusals),
    _counters("tidelog_rate_limited_total",
              "What was over a limit of [rate_limits], or of an app, key or namespace, by limit.",
              ("limit",), lambda now: now.broker.epoch.rate_limits.refused),
    _gauge("tidelog_rate_limit_buckets", "Apps, keys, connections and channels that are counted.",
           lambda now: now.broker.epoch.rate_limits.buckets),
    _counter("tidelog_app_log_left_out_total", "Reports left out of [meta]log, for their number.",
             lambda now: now.broker.epoch.app_log.left_out),

    _counters("tidelog_push_attempts_total", "Attempts to deliver, by transport and outcome.",
              ("transport", "verdict"), lambda now: now.broker.outbox.by_transport),
    _gauge("tidelog_push_notifications_waiting",
           "Notifications not delivered to everybody yet; 1,000 stands for 1,000 or more.",
           lambda now: now.measured.notifications),
    _gauge("tidelog_push_attempts_waiting", "Devices of those that are to be tried again.",
           lambda now: now.measured.attempts_waiting),
    _gauge("tidelog_push_open_circuits", "Endpoints left alone for a while because they fail.",
           lambda now: len(now.broker.outbox.attempts.lanes.open_circuits)),

    _counters("tidelog_spans_total", "Spans of traces, by what became of them.", ("outcome",),
              lambda now: now.sources.spans()),

    Metric("tidelog_event_loop_lag_seconds", Kind.HISTOGRAM, "How late tasks run.", (),
           lambda now: now.sources.loop_lag),
)
# fmt: on
