"""What clients do that no event carries, summed in memory until it is recorded with its minute.

Called on the path of every delivery and request: each call is a look-up and an addition or two. A
process that is killed loses the sums of its last minute (design.md 1).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from broker.stats.counters import Counters, by_app, payload_size, without_zeros

CLIENT_ERROR, SERVER_ERROR = 400, 500
REFUSED = frozenset({401, 403, 429})


class _Names(NamedTuple):
    items: str
    data: str


def _names(family: str) -> dict[bool, _Names]:
    """Whether of presence -> the names of a family's counters."""
    return {
        presence: _Names(f"{family}.{kind}.count", f"{family}.{kind}.data")
        for presence, kind in ((False, "messages"), (True, "presence"))
    }


_DELIVERED = _names("messages.outbound.realtime")
_READ = _names("messages.outbound.rest")


class Activity:
    def __init__(self) -> None:
        self._sums = by_app()

    def delivered(self, app: str, items: int, size: int, *, presence: bool = False) -> None:
        """So many messages were passed on to a connection. `size`: of their payloads."""
        names, sums = _DELIVERED[presence], self._sums[app]
        sums[names.items] += items
        sums[names.data] += size

    def read(self, app: str, items: Sequence[Any], *, presence: bool = False) -> None:
        """Messages, or presence messages, were given out over REST."""
        names, sums = _READ[presence], self._sums[app]
        sums[names.items] += len(items)
        sums[names.data] += sum(map(payload_size, items))

    def publish_refused(self, app: str, via: str, status: int, *, presence: bool = False) -> None:
        """`via`: realtime or rest. `status`: of the error; where that is the server's, the publish
        has failed."""
        kind = "presence" if presence else "messages"
        metric = "failed" if status >= SERVER_ERROR else "refused"
        self._sums[app][f"messages.inbound.{via}.{kind}.{metric}"] += 1

    def api_request(self, app: str, family: str, status: int) -> None:
        """`family`: tokenRequests, push or other."""
        failure = "refused" if status in REFUSED else "failed"
        metric = failure if status >= CLIENT_ERROR else "succeeded"
        self._sums[app][f"apiRequests.{family}.{metric}"] += 1

    def of(self, app: str) -> Counters | None:
        """What an app did since `take`; None for nothing."""
        return without_zeros(self._sums[app]) if app in self._sums else None

    def take(self) -> Iterator[tuple[str, Counters]]:
        """What every app did; the sums begin again."""
        taken, self._sums = self._sums, by_app()
        for app, sums in taken.items():
            yield app, without_zeros(sums)

    def forget(self, app: str) -> None:
        """It was deleted."""
        self._sums.pop(app, None)
