"""How late the event loop is: how much later than it wished a task runs again.

It is what every client waits beside its own work, so it shows an overload before anything fails.
Time is trio's. Buckets are cumulative, as Prometheus wants them.
"""

import trio

INTERVAL_S = 0.1
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LoopLag:
    def __init__(self) -> None:
        self.total_s = 0.0
        self.samples = 0
        self._within = [0] * len(BOUNDS_S)

    async def run(self, stop: trio.Event) -> None:
        """Measure until `stop` is set."""
        while not stop.is_set():
            wished = trio.current_time() + INTERVAL_S
            with trio.move_on_at(wished):
                await stop.wait()
                return
            self.note(trio.current_time() - wished)

    def note(self, late_s: float) -> None:
        self.total_s += late_s
        self.samples += 1
        for place, bound_s in enumerate(BOUNDS_S):
            self._within[place] += late_s <= bound_s

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """(upper bound, how many were no later)."""
        bounds = [(str(bound), float(n)) for bound, n in zip(BOUNDS_S, self._within, strict=True)]
        return [*bounds, ("+Inf", float(self.samples))]
