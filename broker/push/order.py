"""Whose turn it is: devices of some APIs are told of notifications in the order of publishes
(reference push.md 5.3), all others as it comes.

A device has its turn with a publish when no earlier one waits for it, or has still to come to it:
both is in the log, so it is the same after a crash. A page that is not written down counts as still
to come, for a crash repeats it. Whoever has no turn waits in memory while its page does; then it is
written down as one that waits, without an attempt.

What is not promised: an order with publishes that reach a device only because it was subscribed,
or changed hands, after a later one had reached it.
"""

from collections.abc import Iterable

import trio

from broker.push import expansion, outbox_log, waiting
from broker.push.events import MATRIX, Device
from broker.push.outbox_log import PublishRow
from storage import Rows
from storage.serial import ms_of

_APIS = frozenset({MATRIX})
LOOK_MS_MIN, LOOK_MS_MAX = 1_000, 60_000


def is_ordered(device: Device | None) -> bool:
    return device is not None and device.api in _APIS


def without_turn(
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
    """Tells those who wait for their turn when it may have come."""

    def __init__(self) -> None:
        self._news: dict[tuple[str, str], trio.Event] = {}

    def news(self, app: str, device: str) -> trio.Event:
        """Set when something was settled for the device, from now on."""
        return self._news.setdefault((app, device), trio.Event())

    def happened(self, app: str, device: str) -> None:
        news = self._news.pop((app, device), None)
        if news is not None:
            news.set()
