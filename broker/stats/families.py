"""What an answer about usage holds: the stored counters, and what adds them up.

    messages.{inbound|outbound}.{via}.{type}.{metric}   also with `all` for via, for type, for both,
                                                        and as messages.all.{type|all}.{metric}
    messages.persisted.{type}.{metric}                  also as messages.persisted.all
    apiRequests.{family}.{metric}                       also as apiRequests.all
    {gauge}.total, {gauge}.samples                      as {gauge}.mean, and not themselves

Entries that are zero are left out, as the schema's are.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from broker.stats.counters import Counters

MEAN_DIGITS = 3
TOTAL, SAMPLES = "total", "samples"


def entries(counters: Mapping[str, int]) -> dict[str, int | float]:
    found: Counters = {}
    for name, amount in counters.items():
        for family in _families(name):
            found[family] = found.get(family, 0) + amount
    return {name: value for name, value in _with_means(found) if value}


def _with_means(found: Counters) -> Iterator[tuple[str, int | float]]:
    for name, amount in found.items():
        gauge, _, metric = name.rpartition(".")
        if metric == TOTAL:
            mean = round(amount / max(1, found.get(f"{gauge}.{SAMPLES}", 0)), MEAN_DIGITS)
            yield f"{gauge}.mean", int(mean) if mean.is_integer() else mean
        elif metric != SAMPLES:
            yield name, amount


@lru_cache(maxsize=1_000)
def _families(name: str) -> tuple[str, ...]:
    """The entries that a counter is part of."""
    match name.split("."):
        case ["messages", "inbound" | "outbound" as direction, via, type_, metric]:
            return (
                name,
                f"messages.{direction}.{via}.all.{metric}",
                f"messages.{direction}.all.{type_}.{metric}",
                f"messages.{direction}.all.all.{metric}",
                f"messages.all.{type_}.{metric}",
                f"messages.all.all.{metric}",
            )
        case ["messages", "persisted", _, metric]:
            return name, f"messages.persisted.all.{metric}"
        case ["apiRequests", _, metric]:
            return name, f"apiRequests.all.{metric}"
    return (name,)
