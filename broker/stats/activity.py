"""What clients do that no event carries, summed in memory until it is recorded with its minute.

Called on the path of every delivery and request: each call is a look-up and an addition or two. A
process that is killed loses the sums of its last minute (design.md 1).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from broker.stats.counters import Counters, by_app, payload_size, without_zeros

CLIENT_ERROR, SERVER_ERROR = 400, 500
REFUSED = frozenset({401, 403, 429})


# What is summed of deliveries, in this order.
_DELIVERED = tuple(
    f"messages.outbound.realtime.{kind}.{metric}"
    for kind in ("messages", "presence")
    for metric in ("count", "data")
)
_PRESENCE = 2


class Activity:
    """`passed_on`: told of the messages of each delivery, by channel, while somebody wants it."""

    def __init__(self) -> None:
        self.passed_on: Callable[[tuple[str, str], int], None] | None = None
        self._sums = by_app()
        self._delivered: defaultdict[str, list[int]] = defaultdict(_nothing)
        self._settled = _nothing()

    def delivered(self, app: str, items: int, size: int, *, presence: bool = False) -> None:
        """So many messages were passed on to a connection. `size`: of their payloads."""
        place = _PRESENCE if presence else 0
        sums = self._delivered[app]
        sums[place] += items
        sums[place + 1] += size

    @property
    def delivered_in_all(self) -> list[int]:
        """Since the process began: messages and their bytes, then those of presence. Summed here,
        so that a delivery costs no more for it."""
        return [
            sum(amounts) for amounts in zip(self._settled, *self._delivered.values(), strict=True)
        ]

    def read(self, app: str, items: Sequence[Any], *, presence: bool = False) -> None:
        """Messages, or presence messages, were given out over REST."""
        family = f"messages.outbound.rest.{_kind(presence)}"
        self._sums[app][f"{family}.count"] += len(items)
        self._sums[app][f"{family}.data"] += sum(map(payload_size, items))

    def publish_refused(self, app: str, via: str, status: int, *, presence: bool = False) -> None:
        """`via`: realtime or rest. `status`: of the error; where that is the server's, the publish
        has failed."""
        metric = "failed" if status >= SERVER_ERROR else "refused"
        self._sums[app][f"messages.inbound.{via}.{_kind(presence)}.{metric}"] += 1

    def api_request(self, app: str, family: str, status: int) -> None:
        """`family`: tokenRequests, push or other."""
        failure = "refused" if status in REFUSED else "failed"
        metric = failure if status >= CLIENT_ERROR else "succeeded"
        self._sums[app][f"apiRequests.{family}.{metric}"] += 1

    def of(self, app: str) -> Counters | None:
        """What an app did since `take`; None for nothing."""
        self._settle(app)
        return without_zeros(self._sums[app]) if app in self._sums else None

    def take(self) -> Iterator[tuple[str, Counters]]:
        """What every app did; the sums begin again."""
        for app in list(self._delivered):
            self._settle(app)
        taken, self._sums = self._sums, by_app()
        for app, sums in taken.items():
            yield app, without_zeros(sums)

    def _settle(self, app: str) -> None:
        amounts = self._pop_delivered(app)
        for name, amount in zip(_DELIVERED, amounts, strict=False):
            self._sums[app][name] += amount

    def _pop_delivered(self, app: str) -> list[int]:
        amounts = self._delivered.pop(app, [])
        if amounts:
            self._settled = [sum(pair) for pair in zip(self._settled, amounts, strict=True)]
        return amounts

    def forget(self, app: str) -> None:
        """It was deleted."""
        self._sums.pop(app, None)
        self._pop_delivered(app)


def _nothing() -> list[int]:
    return [0, 0, 0, 0]


def _kind(presence: bool) -> str:
    return "presence" if presence else "messages"
