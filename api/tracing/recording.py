"""Recording traces of one broker and its server: all that is recorded is hung up here, and taken
down again at the end.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from api.request_guard import App
from api.settings import ServerSettings
from api.tracing.commits import Commits
from api.tracing.deliveries import TracedTransport
from api.tracing.pipeline import Pipeline
from api.tracing.requests import TracedApp
from broker import Broker

SCOPE = "tidelog"

Recorded = tuple[Callable[[App], App], Callable[[], Mapping[str, int]]]


@asynccontextmanager
async def recorded(broker: Broker, settings: ServerSettings) -> AsyncIterator[Recorded]:
    """What an application becomes whose requests are recorded, and what became of spans."""
    pipeline = Pipeline(settings)
    tracer = pipeline.provider.get_tracer(SCOPE)
    transports = broker.outbox.attempts.transports
    known = dict(transports)
    transports.update({name: TracedTransport(tracer, name, one) for name, one in known.items()})
    broker.log.observer = Commits(tracer)
    try:
        yield partial(TracedApp, tracer), pipeline.outcomes
    finally:
        broker.log.observer = None
        transports.update(known)
        await pipeline.aclose()
