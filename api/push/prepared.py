"""Caches what a provider is sent of a payload: it is made once for all the devices of a publish.

These share one payload object. The cache is keyed by the identity of that object, because hashing
the payload would cost what the cache saves. A payload that was published is never changed.

Bounded: the oldest entry goes first. A refusal is not cached.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
KEPT_MAX = 64  # publishes that the outbox goes through at a time


class Prepared(Generic[T]):
    def __init__(self, make: Callable[[dict[str, Any]], T]) -> None:
        self._make = make
        self._kept: dict[int, tuple[dict[str, Any], T]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __call__(self, payload: dict[str, Any]) -> T:
        known = self._kept.get(id(payload))
        if known is not None:  # it holds the payload: no other has its id
            return known[1]
        made = self._make(payload)
        if len(self._kept) >= KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[id(payload)] = payload, made
        return made
