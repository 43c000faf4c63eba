"""The key file as tasks use it: one thread at a time, and one write for all who wait for it.

A write is an fsync, and a disk does few of them a second; to destroy a key, the whole file is
written again. So whoever asks for a key, or for the end of one, while the file is being written is
served by the next write, together with everybody else who came meanwhile.

A key that is being destroyed cannot be got any more, though the file still has it. Refuses to say
what a key is for: that is in its id (broker.push.key_ids).
"""

from collections.abc import Callable, Mapping, Set

import trio

from broker.storage_errors import mapped
from storage.keyfile import KeyFile

Change = tuple[dict[str, bytes], Set[str]]
"""Keys to put, and ids of those to drop, in one step."""


class Keys:
    """`turn`: held by whoever writes the file, and looks at it before to know what to write. Ids in
    `_unwanted` stay there until they were looked at and, unless used, destroyed."""

    def __init__(self, file: KeyFile) -> None:
        self.turn = trio.Lock()
        self._file = file
        self._wanted: dict[str, bytes] = {}
        self._unwanted: set[str] = set()
        self._going: Set[str] = frozenset()

    def get(self, id_: str) -> bytes | None:
        return None if id_ in self._going else self._file.get(id_)

    def ids(self) -> Set[str]:
        return self._file.ids()

    async def ensure(self, wanted: Mapping[str, bytes]) -> None:
        """Each id has a key, on disk, when this returns: that of before, or the one given here.
        Raises Unavailable."""
        if all(self.get(id_) is not None for id_ in wanted):
            return
        self._wanted |= wanted
        try:
            async with self.turn:
                if any(self._file.get(id_) is None for id_ in wanted):
                    await self._create({**wanted, **self._wanted})
        finally:
            for id_ in wanted:
                self._wanted.pop(id_, None)

    async def _create(self, keys: dict[str, bytes]) -> None:
        new = {id_: key for id_, key in keys.items() if self._file.get(id_) is None}
        with mapped():
            await trio.to_thread.run_sync(self._file.create, new)

    async def destroy(self, ids: Set[str], used: Callable[[Set[str]], Set[str]]) -> Set[str]:
        """Nobody can read any more what these keys were for, nor those that could not be destroyed
        before; but keys that are `used` stay. Which are is asked last of all, in turn: whoever came
        to need a key meanwhile finds that it stays, or that it is gone. Returns the ids of those
        that are gone. Raises Unavailable."""
        self._unwanted |= ids
        if not self._unwanted:
            return frozenset()
        async with self.turn:
            self._unwanted |= ids  # who had the turn may have found them used
            asked = frozenset(self._unwanted)
            there = {id_ for id_ in asked if self._file.get(id_) is not None}
            gone = there - used(there)
            if gone:
                await self._destroy(gone)
            self._unwanted -= asked
        return gone

    async def _destroy(self, ids: Set[str]) -> None:
        self._going = ids
        try:
            with mapped():
                await trio.to_thread.run_sync(self._file.destroy, ids)
        finally:
            self._going = frozenset()

    async def change(
        self, work: Callable[[], Change], written: Callable[[], None] = lambda: None
    ) -> None:
        """What `work` comes to, in one step, and then `written`. Both run in the thread, and may
        take their time; their caller has the turn."""

        def carry_out() -> None:
            put, drop = work()
            self._file.change(put, drop)
            written()

        with mapped():
            await trio.to_thread.run_sync(carry_out)
