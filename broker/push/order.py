"""Whose turn it is: devices of some APIs are told of notifications in the order of publishes
(reference push.md 5.3). All others are told at once.

It is a device's turn with a publish when no earlier publish waits for the device, and none has
still to come to it. Both are in the log, so a crash changes nothing. A page that is not written
down yet counts as still to come, for a crash repeats it. A device that has no turn waits in memory
as long as its page does; then it is written down as one that waits, without an attempt.

Not promised: an order with a publish that reaches a device only because it was subscribed, or got
another user, after a later publish had reached it.
"""

from collections.abc import Iterable, Sequence

import trio

from broker.push import expansion, outbox_log, waiting
from broker.push.backlog import Backlog
from broker.push.events import MATRIX, Device
from broker.push.outbox_log import PublishRow
from storage import Log, Rows
from storage.serial import ms_of

_APIS = frozenset({MATRIX})
LOOK_MS_MIN, LOOK_MS_MAX = 1_000, 60_000


def is_ordered(device: Device | None) -> bool:
    return device is not None and device.api in _APIS


def _without_turn(
    rows: Rows, of: PublishRow, devices: Iterable[Device], under_way: Iterable[PublishRow]
) -> frozenset[str]:
    """The ids of those who have to wait. `under_way`: publishes that may have devices to come to,
    as they were accepted; known before the rows were."""
    earlier = [one for one in under_way if one.serial < of.serial and one.app == of.app]
    return frozenset(one.id for one in devices if not _has_turn(rows, of, one, earlier))


def _has_turn(rows: Rows, of: PublishRow, device: Device, earlier: Iterable[PublishRow]) -> bool:
    first = waiting.first_in_line(rows, of.app, device.id)
    if first is not None and first < of.serial:
        return False
    return not any(_is_to_come(rows, one, device) for one in earlier)


def _is_to_come(rows: Rows, row: PublishRow, device: Device) -> bool:
    place = expansion.place_of(rows, row.app, row.selector, device)
    if place is None:
        return False
    now = outbox_log.publish(rows, row.app, row.serial)
    return now is not None and now.cursor is not None and now.cursor < place


def look_again_ms(row: PublishRow, now_ms: int) -> int:
    """When to look whether it is its turn: less and less often, for who is behind a long list."""
    age_ms = now_ms - ms_of(row.serial)
    return now_ms + min(max(age_ms // 2, LOOK_MS_MIN), LOOK_MS_MAX)


class Turns:
    """Those who wait in memory for their turn. Only the earliest is told when it may have come: the
    others have theirs when that one is settled."""

    def __init__(self, log: Log, backlog: Backlog) -> None:
        self._log = log
        self._backlog = backlog
        self._lines: dict[tuple[str, str], dict[int, trio.Event]] = {}

    async def held(self, row: PublishRow, devices: Sequence[Device]) -> dict[str, trio.Event]:
        """Those of them who have no turn, and what tells them when it may have come."""
        joined = {device.id: self.join(row, device.id) for device in devices}
        held = await self.without_turn(row, devices)
        for id_ in joined.keys() - held:
            self.leave(row, id_)
        return {id_: joined[id_] for id_ in held}

    async def without_turn(self, row: PublishRow, devices: Sequence[Device]) -> frozenset[str]:
        """The ids of those of them who have no turn."""
        if not devices:
            return frozenset()
        under_way = tuple(self._backlog.begun.values())
        return await self._log.query(lambda view: _without_turn(view, row, devices, under_way))

    async def is_early(self, row: PublishRow, device: Device) -> bool:
        """Whether something may have to come first: until all that the broker before left is known,
        anything may."""
        return not self._backlog.has_looked or bool(await self.without_turn(row, (device,)))

    def join(self, row: PublishRow, device: str) -> trio.Event:
        """Set when it may be its turn, or it left."""
        return self._lines.setdefault((row.app, device), {}).setdefault(row.serial, trio.Event())

    def leave(self, row: PublishRow, device: str) -> None:
        self._tell(row.app, device, row.serial)

    def happened(self, app: str, device: str) -> None:
        """Something was settled for the device."""
        line = self._lines.get((app, device))
        if line:
            self._tell(app, device, min(line))

    def _tell(self, app: str, device: str, serial: int) -> None:
        line = self._lines.get((app, device), {})
        event = line.pop(serial, None)
        if event is not None:
            event.set()
        if not line:
            self._lines.pop((app, device), None)
