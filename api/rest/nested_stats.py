"""Usage as the API first told it: families of counters, nested, beside the flat entries.

For who says no version, or one before 2 (reference 1.2); its names are those of the first SDKs.
"""

from collections.abc import Mapping
from typing import Any

# What a family was called, by what begins the names of its entries now.
_FAMILIES = {
    "messages.all.": ("all",),
    "messages.inbound.": ("inbound",),
    "messages.outbound.": ("outbound",),
    "messages.persisted.": ("persisted",),
    "connections.": ("connections",),
    "channels.": ("channels",),
    "apiRequests.all.": ("apiRequests",),
    "apiRequests.tokenRequests.": ("tokenRequests",),
}


def families(entries: Mapping[str, int | float]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, amount in entries.items():
        for beginning, family in _FAMILIES.items():
            if name.startswith(beginning):
                _put(nested, [*family, *name[len(beginning) :].split(".")], amount)
    return nested


def _put(nested: dict[str, Any], path: list[str], amount: float) -> None:
    for part in path[:-1]:
        nested = nested.setdefault(part, {})
    nested[path[-1]] = amount
