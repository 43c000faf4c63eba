"""The wall clock, in one place, so that tests and simulations can replace it."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Milliseconds since the epoch."""


def wall_clock() -> int:
    return time.time_ns() // 1_000_000
