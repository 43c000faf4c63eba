"""Traces on or off: the one place that decides, and imports OpenTelemetry or does not.

It is an optional extra: where it is wanted and missing, that is an error of the configuration, told
before anything is opened.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from api.config.errors import ConfigError
from api.request_guard import App
from api.settings import ServerSettings
from broker import Broker


class Traces(NamedTuple):
    """`wrap`: what an application becomes. `outcomes`: what became of spans so far."""

    wrap: Callable[[App], App] = lambda app: app
    outcomes: Callable[[], Mapping[str, int]] = dict


def require(settings: ServerSettings) -> Any:
    """What records traces; None for nothing. Raises ConfigError where it is not installed."""
    if not settings.otlp_endpoint:
        return None
    try:
        from api.tracing import recording
    except ImportError as error:
        raise ConfigError(
            "otlp_endpoint is set, but OpenTelemetry is not installed "
            f"({error.name}): pip install 'tidelog[otel]', or leave otlp_endpoint empty"
        ) from None
    return recording


@asynccontextmanager
async def tracing(broker: Broker, settings: ServerSettings) -> AsyncIterator[Traces]:
    """Record traces of a broker for as long as this lasts, if that is on. Raises ConfigError."""
    recording = require(settings)
    if recording is None:
        yield Traces()
        return
    async with recording.recorded(broker, settings) as (wrap, outcomes):
        yield Traces(wrap, outcomes)
