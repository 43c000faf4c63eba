"""One connection that publishes, and keeps a number of messages in flight.

It counts acknowledgements and never parses while the clock runs: bench.realtime.wires says why that
is cheap and right. Latency is from the write that carried the message to the read that brought its
acknowledgement. The next frames are made while the broker works on the last ones, so that it never
waits for them.
"""

from itertools import count
from time import perf_counter

from bench.acknowledged import Wrong
from bench.measuring import Sample
from bench.realtime.process import cpu_seconds
from bench.realtime.wires import Publisher, Wire

_READ_BYTES = 1 << 16
_channels = count(1)


class Publishing:
    """A contender: every turn is a new connection that publishes to a new channel."""

    def __init__(self, wire: Wire) -> None:
        self.name = wire.name
        self._wire = wire

    async def turn(self, publishers: int, seconds: float) -> Sample:
        """`publishers`: messages in flight."""
        publisher = self._wire.durable_publisher(f"publish-{next(_channels)}")
        pipeline = Pipeline(publisher, publishers)
        with publisher.socket:
            cpu, began = cpu_seconds(self._wire.pid), perf_counter()
            latencies = pipeline.run(began + seconds)
            elapsed, cpu = perf_counter() - began, cpu_seconds(self._wire.pid) - cpu
            await publisher.check(b"".join(pipeline.received), range(len(latencies)))
        return Sample(len(latencies), elapsed, cpu, latencies=latencies)


class Pipeline:
    """One connection's messages. `latencies`: of those that were acknowledged."""

    def __init__(self, publisher: Publisher, in_flight: int) -> None:
        self.received: list[bytes] = []
        self.latencies: list[float] = []
        self._publisher = publisher
        self._in_flight = in_flight
        self._sent: list[float] = []  # when, by number
        self._ready: list[bytes] = []  # the frames of the next numbers

    def run(self, until: float) -> list[float]:
        """Publish until the time is up, and wait for every acknowledgement; the latencies."""
        self.begin()
        while self.step(until):
            pass
        return self.latencies

    def begin(self) -> None:
        self._make_ready()
        self._send(self._in_flight)

    def step(self, until: float) -> bool:
        """One read, and as many messages as it acknowledged if there is time; False at the end."""
        first, free = len(self.latencies), self._acknowledged()
        now = perf_counter()
        if now < until:
            self._send(free)
        self.latencies += [now - moment for moment in self._sent[first : first + free]]
        return len(self.latencies) < len(self._sent)

    def _send(self, free: int) -> None:
        now = perf_counter()
        self._publisher.socket.sendall(b"".join(self._ready[:free]))
        self._sent += [now] * free
        del self._ready[:free]
        self._make_ready()

    def _make_ready(self) -> None:
        first = len(self._sent) + len(self._ready)
        last = len(self._sent) + self._in_flight
        self._ready += map(self._publisher.frame, range(first, last))

    def _acknowledged(self) -> int:
        """Wait for a read; how many acknowledgements came. Raises TimeoutError."""
        chunk = self._publisher.socket.recv(_READ_BYTES)
        if not chunk:
            raise Wrong(f"the broker ended the connection: {self.received[-1:]!r}")
        self.received.append(chunk)
        return self._publisher.acknowledged(chunk)
