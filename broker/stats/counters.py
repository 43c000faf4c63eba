"""Counters of an app's usage: names with dots, and how two amounts of one name become one.

The names are those of the app-stats schema (reference 1.14), as far as they are counted; what only
adds others up (`all`) is derived when somebody asks (broker.stats.families). The last component
says how amounts merge, in memory, in a fold, and over the minutes of an hour alike:

    peak                                      the larger
    min                                       the smaller
    count data opened succeeded failed refused, and any other     the sum

A mean cannot be merged, so its parts are kept: `total` of what was seen at the end of each recorded
minute, and the number of `samples`. Zeros are not stored, except of `min`: there 0 is a value, and
absent is none.

`data` is the length of payloads as they are stored: bytes, or characters of text.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from operator import add
from typing import Any

Counters = dict[str, int]

CONNECTIONS = "connections.all"
CHANNELS = "channels"
_MERGED: dict[str, Callable[[int, int], int]] = {"peak": max, "min": min}


def merge(into: Counters, more: Mapping[str, int]) -> None:
    """Add `more` to `into`, by the rule of each name."""
    for name, amount in more.items():
        known = into.get(name)
        into[name] = amount if known is None else _rule(name)(known, amount)


def merged(all_: Iterable[Mapping[str, int]]) -> Counters:
    total: Counters = {}
    for counters in all_:
        merge(total, counters)
    return total


def _rule(name: str) -> Callable[[int, int], int]:
    return _MERGED.get(name.rpartition(".")[2], add)


def by_app() -> defaultdict[str, defaultdict[str, int]]:
    """Sums to add to, by app and name."""
    return defaultdict(_sums)


def _sums() -> defaultdict[str, int]:
    return defaultdict(int)


def without_zeros(sums: Mapping[str, int]) -> Counters:
    return {name: amount for name, amount in sums.items() if amount}


def payload_size(item: Any) -> int:
    """What a message or presence message counts as `data`."""
    return 0 if item.data is None else len(item.data)
