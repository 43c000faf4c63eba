"""A span for every HTTP request, by OpenTelemetry's conventions for servers (stable since 1.23).

It is named by the route, `GET /channels/<channel>/messages`, and never tells the path or the query,
though the conventions want them: both may hold keys, tokens and addresses of devices. A request
that no route takes is named by its method. A client's `traceparent` is followed.
"""

from http import HTTPMethod

from opentelemetry.context import attach, detach
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    network_attributes,
    url_attributes,
)
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from api.request_guard import App, Message, Receive, Scope, Send
from api.trace_context import Note, traceparent, with_note

METHODS = frozenset(HTTPMethod)
OTHER_METHOD, OTHER_NAME = "_OTHER", "HTTP"
PARENT, STATE = "traceparent", "tracestate"
APP, CODE = "tidelog.app", "tidelog.error.code"
W3C = TraceContextTextMapPropagator()


def written(span: Span) -> str:
    """The span as a `traceparent`."""
    carrier: dict[str, str] = {}
    W3C.inject(carrier, set_span_in_context(span))
    return carrier.get(PARENT, "")


class TracedApp:
    """An ASGI application around another one."""

    def __init__(self, tracer: Tracer, app: App) -> None:
        self._tracer = tracer
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        note, status = Note(), 0

        async def noticing(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        span = self._begin(scope)
        context, parent = attach(set_span_in_context(span)), traceparent.set(written(span))
        try:
            await self._app(with_note(scope, note), receive, noticing)
        finally:
            detach(context)
            traceparent.reset(parent)
            _end(span, scope, note, status)

    def _begin(self, scope: Scope) -> Span:
        wanted = {PARENT.encode(): PARENT, STATE.encode(): STATE}
        carrier = {wanted[k]: v.decode("latin-1") for k, v in scope["headers"] if k in wanted}
        method = _method(scope)
        attributes = {
            http_attributes.HTTP_REQUEST_METHOD: method,
            url_attributes.URL_SCHEME: scope["scheme"],
            network_attributes.NETWORK_PROTOCOL_VERSION: scope["http_version"],
        }
        return self._tracer.start_span(
            OTHER_NAME if method == OTHER_METHOD else method,
            W3C.extract(carrier),
            SpanKind.SERVER,
            attributes,
        )


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in METHODS else OTHER_METHOD


def _end(span: Span, scope: Scope, note: Note, status: int) -> None:
    if note.route is not None:
        span.update_name(f"{_method(scope)} {note.route}")
        span.set_attribute(http_attributes.HTTP_ROUTE, note.route)
    if note.app is not None:
        span.set_attribute(APP, note.app)
    if note.code is not None:
        span.set_attribute(CODE, note.code)
    if status:
        span.set_attribute(http_attributes.HTTP_RESPONSE_STATUS_CODE, status)
    if not 0 < status < 500:
        span.set_attribute(error_attributes.ERROR_TYPE, str(status or "no reply"))
        span.set_status(StatusCode.ERROR)
    span.end()
