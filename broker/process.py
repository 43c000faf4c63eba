"""What a process that is nothing but a broker may do to the interpreter. A library must not do it
behind its host's back, so nobody here calls it: `tidelog serve` and `bench` do."""

import gc


def rest_garbage_collector() -> None:
    """A message makes some ten objects and none of them is part of a cycle: at the default
    thresholds the collector takes a fifth of a publish looking (bench/RESULTS.md)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
