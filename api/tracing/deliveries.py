"""A span for every attempt to deliver a notification: by what, and what came of it.

Neither the address nor what is sent is in it. Webhooks get its `traceparent`, so that what the
receiver does is in the same trace.
"""

from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from api.trace_context import traceparent
from api.tracing.requests import APP, written
from broker.push.transport import Outgoing, Result, Transport, Verdict

TRANSPORT, VERDICT, ATTEMPT = (
    "tidelog.push.transport",
    "tidelog.push.verdict",
    "tidelog.push.attempt",
)


class TracedTransport:
    def __init__(self, tracer: Tracer, name: str, inner: Transport) -> None:
        self._tracer = tracer
        self._name = name
        self._inner = inner

    def endpoint(self, outgoing: Outgoing) -> str:
        return self._inner.endpoint(outgoing)

    async def send(self, outgoing: Outgoing) -> Result:
        span = self._tracer.start_span(
            f"deliver {self._name}",
            None,
            SpanKind.CLIENT,
            {APP: outgoing.app, TRANSPORT: self._name, ATTEMPT: outgoing.made + 1},
        )
        parent = traceparent.set(written(span))
        try:
            result = await self._inner.send(outgoing)
            span.set_attribute(VERDICT, result.verdict.value)
            if result.verdict is not Verdict.SENT:
                span.set_attribute(error_attributes.ERROR_TYPE, str(result.code))
                span.set_status(StatusCode.ERROR)
            return result
        finally:
            traceparent.reset(parent)
            span.end()
