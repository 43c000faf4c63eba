"""Which notifications are gone through, and when the others have their turn.

No more than BEGUN_MAX are in memory, however many were accepted; the others wait in the log. While
some do, whatever is accepted waits behind them: the log is looked through, LOOKED_AT rows at a
time, until a look from its beginning to its end has left nobody behind.

Invariants: a notification is begun once, from its row as it stands at that moment: what a look
found may be over when there is room for it. Those of one app are begun in the order in which they
were accepted. So when one is in `begun`, every earlier one of its app is there too, or over.
"""

from collections.abc import Callable
from functools import partial

import trio

from broker.push import outbox_log
from broker.push.outbox_log import PublishRow
from storage import Log

BEGUN_MAX = 256
LOOKED_AT = 100


class Backlog:
    def __init__(self, log: Log, begin: Callable[[PublishRow], None]) -> None:
        """`begin`: goes through one, and tells `over` when it has."""
        self.begun: dict[int, PublishRow] = {}
        self.has_looked = False  # once through all that was left by the broker before
        self._log = log
        self._begin = begin
        self._is_behind = True
        self._may_have_left_some = True
        self._changed = trio.lowlevel.ParkingLot()

    def accepted(self, app: str, serial: int) -> None:
        if self._is_behind or len(self.begun) >= BEGUN_MAX:
            self._is_behind = self._may_have_left_some = True
            self._changed.unpark_all()
        else:
            self._start(app, serial)

    def over(self, serial: int) -> None:
        self.begun.pop(serial, None)
        self._changed.unpark_all()

    async def run(self) -> None:
        """Begin what waits in the log, as there is room, until cancelled."""
        while True:
            while self._may_have_left_some:
                self._may_have_left_some = False
                await self._look()
                self.has_looked = True
            self._is_behind = False
            await self._changed.park()

    async def _look(self) -> None:
        after: bytes | None = b""
        while after is not None:
            ask = partial(outbox_log.next_unfinished, after=after, limit=LOOKED_AT)
            found, after = await self._log.query(ask)
            for app, serial in found:
                while len(self.begun) >= BEGUN_MAX:
                    await self._changed.park()
                self._start(app, serial)

    def _start(self, app: str, serial: int) -> None:
        with self._log.view() as view:
            row = outbox_log.publish(view, app, serial)
        if row is not None and row.cursor is not None and serial not in self.begun:
            self.begun[serial] = row
            self._begin(row)
