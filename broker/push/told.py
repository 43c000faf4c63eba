"""Who was told of a notification already, where there are several ways to find somebody.

A device is found through its client, or itself, or by one topic or another; when that changes while
its notification is gone through, it is found again on its new way. Here is who was told, so that it
is not told again.

Bounded over all notifications, and in memory: after TOLD_MAX others, or a crash, a device whose way
changed meanwhile is told twice, with the same id. Nobody is ever passed over: who is not known to
have been told is told.
"""

from collections.abc import Sequence
from hashlib import blake2b

from broker.push.events import Device, Selector
from broker.push.outbox_log import PublishRow

TOLD_MAX = 100_000


class Told:
    def __init__(self) -> None:
        self._deliveries: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._deliveries)

    def others(self, row: PublishRow, found: Sequence[Device]) -> Sequence[Device]:
        """Those of them that were not told yet; from now on they were."""
        return [
            device
            for device in found
            if not _has_several_ways(row.selector, device) or self._is_first(row, device)
        ]

    def _is_first(self, row: PublishRow, device: Device) -> bool:
        name = f"{row.app}\0{row.serial}\0{device.id}"
        delivery = blake2b(name.encode(), digest_size=16).digest()
        if delivery in self._deliveries:
            return False
        if len(self._deliveries) >= TOLD_MAX:
            del self._deliveries[next(iter(self._deliveries))]
        self._deliveries[delivery] = None
        return True


def _has_several_ways(selector: Selector, device: Device) -> bool:
    if selector.channel is not None:
        return device.client_id is not None
    return len(selector.topics) > 1 or len(selector.clients) > 1
