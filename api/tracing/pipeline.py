"""The way of a span to the collector: a bounded queue, a thread that sends, and what became of it.

Ending a span puts it into the queue and waits for nobody. What does not fit is dropped and counted,
as is what the collector did not take in time. OpenTelemetry's own lines about that are silenced,
for it writes one for every batch: here it is told when it begins, and when it is over.

`pending` is never less than what waits in the library's queue, so that queue never overflows and
every span is counted once: exported, dropped or pending.
"""

import logging
from collections import Counter
from collections.abc import Sequence

import trio
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased

from api.settings import ServerSettings
from api.version import tidelog_version

EXPORTED, DROPPED = "exported", "dropped"
PATH = "/v1/traces"
SEND_S = 5.0  # for one batch, all its tries together
GOODBYE_S = 3.0  # for what is left when the server ends
BATCH_SPANS_MAX = 512
PAUSE_MS = 1_000  # between two batches that are not full

logger = logging.getLogger("tidelog.tracing")


class _Counted(SpanExporter):
    """On the sending thread."""

    def __init__(self, inner: SpanExporter) -> None:
        self.taken = 0
        self.outcomes: Counter[str] = Counter()
        self._inner = inner
        self._is_troubled = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        try:
            result = self._inner.export(spans)
        except Exception:
            logger.exception("spans could not be sent")
            result = SpanExportResult.FAILURE
        is_troubled = result is not SpanExportResult.SUCCESS
        self.outcomes[DROPPED if is_troubled else EXPORTED] += len(spans)
        if is_troubled != self._is_troubled:
            self._is_troubled = is_troubled
            logger.warning("the collector %s", "takes no spans" if is_troubled else "takes spans")
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class Bounded(BatchSpanProcessor):
    """`dropped`: for lack of room."""

    def __init__(self, exporter: _Counted, spans_max: int) -> None:
        self.dropped = 0
        self._accepted = 0
        self._counted = exporter
        self._spans_max = spans_max
        super().__init__(
            exporter,
            max_queue_size=spans_max,
            schedule_delay_millis=PAUSE_MS,
            max_export_batch_size=min(BATCH_SPANS_MAX, spans_max),
        )

    @property
    def pending(self) -> int:
        return self._accepted - self._counted.taken

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if self.pending >= self._spans_max:
            self.dropped += 1
            return
        self._accepted += 1
        super().on_end(span)


class Pipeline:
    """`provider`: of the tracers whose spans it sends."""

    def __init__(self, settings: ServerSettings) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        endpoint = settings.otlp_endpoint.rstrip("/") + PATH
        self._exporter = _Counted(OTLPSpanExporter(endpoint, timeout=SEND_S))
        self._processor = Bounded(self._exporter, settings.otlp_spans_max)
        ratio = TraceIdRatioBased(settings.otlp_percent / 100)
        named = {"service.name": "tidelog", "service.version": tidelog_version()}
        self.provider = TracerProvider(
            # A client that says that its trace is recorded does not decide how many are.
            sampler=ParentBased(
                ratio, remote_parent_sampled=ratio, local_parent_not_sampled=ALWAYS_OFF
            ),
            resource=Resource(named).merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(self._processor)

    @property
    def pending(self) -> int:
        return self._processor.pending

    def outcomes(self) -> dict[str, int]:
        """What became of spans so far."""
        sent = self._exporter.outcomes
        return {EXPORTED: sent[EXPORTED], DROPPED: sent[DROPPED] + self._processor.dropped}

    async def aclose(self) -> None:
        """Send what is left, if that can be done soon."""
        with trio.move_on_after(GOODBYE_S, shield=True) as enough:
            await trio.to_thread.run_sync(self.provider.shutdown, abandon_on_cancel=True)
        if enough.cancelled_caught:  # let it stop trying
            self._exporter.shutdown()
            logger.warning("%d spans were not sent before the end", self.pending)
