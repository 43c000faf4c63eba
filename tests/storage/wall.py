"""A wall clock that tests set."""

START_MS = 1_700_000_000_000


class Wall:
    """Milliseconds since the epoch; stands still until it is told."""

    def __init__(self, ms: int = START_MS) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms

    def step(self, ms: int) -> None:
        """Forward, or back."""
        self.ms += ms
