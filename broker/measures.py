"""What is measured when an operator asks, because nobody counts it: disk, positions, and what push
has left to do.

Bounded, whatever is stored: of notifications only the first NOTIFICATIONS_MAX are looked at.
"""

from itertools import islice
from typing import NamedTuple

import trio

from broker.live.hub import Hub
from broker.push import outbox_log
from broker.storage_errors import mapped
from storage import Log, View, free_disk_bytes
from storage.serial import ms_of

NOTIFICATIONS_MAX = 1_000


class Measures(NamedTuple):
    """used_bytes: live pages of the log's file, which has file_bytes. notifications: those that are
    not delivered to everybody; attempts_waiting: how many devices of theirs are to be tried again.
    position_ms, handed_on_ms: times of the last record, and of the last that subscribers got.
    """

    used_bytes: int
    file_bytes: int
    free_bytes: int
    notifications: int
    attempts_waiting: int
    position_ms: int
    handed_on_ms: int


async def measure(log: Log, hub: Hub) -> Measures:
    """Raises what reading the log raises."""

    def ask(view: View) -> tuple[int, list[int]]:
        rows = islice(outbox_log.unfinished(view), NOTIFICATIONS_MAX)
        return view.used_bytes, [row.waiting for row in rows]

    with mapped():
        used_bytes, waiting = await log.query(ask)
        file_bytes = log.engine.file_bytes()
        free_bytes, _ = await trio.to_thread.run_sync(free_disk_bytes, log.engine.path)
    return Measures(
        used_bytes,
        file_bytes,
        free_bytes,
        len(waiting),
        sum(waiting),
        ms_of(log.position),
        ms_of(hub.position),
    )
