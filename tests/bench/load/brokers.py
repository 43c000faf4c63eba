"""Brokers that do one thing wrong, and short runs on them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bench.load.instant import Instant, InstantConnection
from bench.load.measuring import measure
from bench.load.options import Options
from bench.load.result import Result
from bench.load.workloads import WORKLOADS

SHORT = {"rate": 300.0, "duration_s": 0.2, "warm_up_s": 0.0, "patience_s": 1.0, "seed": 7}
FEW = {"publishers": 2, "subscribers": 2, "channels": 2}
ODD = 5  # the how manyth publish goes wrong

Fault = Callable[["Faulty", str, bytes], None]


class Faulty(Instant):
    """As it should be, but for one message, which `fault` publishes in its own way."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self._fault = fault
        self._published = 0
        self.held: tuple[str, bytes] | None = None

    def publish(self, channel: str, body: bytes) -> None:
        self._published += 1
        if self._published == ODD:
            self._fault(self, channel, body)
            return
        super().publish(channel, body)
        if self.held is not None and self.held[0] == channel:
            held, self.held = self.held, None
            super().publish(*held)

    def deliver(self, channel: str, body: bytes) -> None:
        for receive in self.receivers[channel]:
            receive(body)


class Presence(InstantConnection):
    """Whoever leaves stays."""

    async def leave(self, channel: str, client_id: str, body: bytes) -> None:
        await super().leave(channel, client_id, body)
        self._broker.present[channel].add(client_id)


class Haunted(Instant):
    @asynccontextmanager
    async def connect(self) -> AsyncIterator[InstantConnection]:
        yield Presence(self)


def short(broker: Instant, workload: str = "channels", **sizes: object) -> Result:
    options: Options = WORKLOADS[workload].defaults.but(**{**SHORT, **FEW, **sizes})
    print("seed", options.seed)
    return measure(broker, WORKLOADS[workload], options, name="test", version="0")
