"""Batches items for one gateway: while a request is on its way, the next items gather.

An item that comes while no request is on its way is sent at once, with those that come in the same
few turns of the loop: often they were waiting for the answer before. So no item waits for a batch
to fill, and a busy gateway gets a request each time it answers.

There is no task for this: the first sender that waits makes the request for all of them. When it is
done, or is cancelled, the next one takes over. Items of a request that was cancelled are sent
again, so receivers must tell repeats by their id. If a batch is refused as a whole, its items are
tried in halves, down to single ones.

Invariants: one request at a time; items go in the order in which they came; no id is twice in one
request.
"""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, Protocol, TypeVar

import trio

_TURNS = 3


class Sized(Protocol):
    """What gathers. `size`: bytes of a request."""

    @property
    def id(self) -> Hashable: ...

    @property
    def size(self) -> int: ...


Item = TypeVar("Item", bound=Sized)
Answer = TypeVar("Answer")


class _Entry(Generic[Item, Answer]):
    def __init__(self, item: Item) -> None:
        self.item = item
        self.answer: Answer | None = None
        self.called = trio.Event()


class Gathering(Generic[Item, Answer]):
    """`ask`: makes a request; what came of each item, or None: not together. Never None for one."""

    def __init__(
        self,
        ask: Callable[[Sequence[Item]], Awaitable[Sequence[Answer] | None]],
        items_max: int,
        size_max: int,
    ) -> None:
        self._ask = ask
        self._items_max = items_max
        self._size_max = size_max
        self._together = items_max
        self._waiting: dict[_Entry[Item, Answer], None] = {}  # in their order
        self._first: _Entry[Item, Answer] | None = None

    @property
    def is_idle(self) -> bool:
        return not self._waiting

    async def send(self, item: Item) -> tuple[Answer, bool]:
        """What came of it; and whether this is who asked, which is one of those in a request."""
        entry = _Entry[Item, Answer](item)
        self._waiting[entry] = None
        try:
            if self._first is None:
                self._first = entry
                for _ in range(_TURNS):
                    await trio.lowlevel.checkpoint()
            else:
                await entry.called.wait()
            asks = entry.answer is None
            while entry.answer is None:
                await self._ask_for_the_first()
            return entry.answer, asks
        finally:
            self._waiting.pop(entry, None)
            if self._first is entry:
                self._pass_on()

    async def _ask_for_the_first(self) -> None:
        entries = self._next()
        answers = await self._ask([entry.item for entry in entries])
        if answers is None:
            assert len(entries) > 1
            self._together = len(entries) // 2
            return
        self._together = min(2 * self._together, self._items_max)
        for entry, answer in zip(entries, answers, strict=True):
            entry.answer = answer
            self._waiting.pop(entry, None)
            entry.called.set()

    def _next(self) -> list[_Entry[Item, Answer]]:
        """At least one: whether that is too large was for its maker to say."""
        chosen: dict[Hashable, _Entry[Item, Answer]] = {}
        size = 0
        for entry in self._waiting:
            if len(chosen) == self._together or (
                chosen and size + entry.item.size > self._size_max
            ):
                break
            if entry.item.id not in chosen:
                chosen[entry.item.id] = entry
                size += entry.item.size
        return list(chosen.values())

    def _pass_on(self) -> None:
        self._first = next(iter(self._waiting), None)
        if self._first is not None:
            self._first.called.set()
