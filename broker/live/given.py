"""What one attachment was given of messages that change: may an append be a fragment to it?

A fragment is of use only to who has the rest. An attachment has the whole of what was published
while it was live, which its position says; of what came before it has what a small cache remembers.
Where neither knows, it is given the message whole, which is always right (reference 3.9).

A message that was given whole may have been ahead of the log's tail: what the tail says of it later
is passed over up to that version.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from broker.interactions.state import State
from broker.live.hub import Batch

REMEMBERED_MAX = 100


class Plan(NamedTuple):
    """How the changes in a batch are told: of the messages in `whole`, as they stand; of those in
    `passed_over`, not at all; of others, as each change says."""

    whole: frozenset[int] = frozenset()
    passed_over: frozenset[int] = frozenset()


AS_IT_SAYS = Plan()
StateOf = Callable[[int], State | None]


class Given:
    """`since`: every message behind this serial was passed on when it was published; None when that
    cannot be said of any. `sees_all`: no message of the channel is kept from the attachment."""

    def __init__(self, since: int | None) -> None:
        self.since = since
        self.sees_all = True
        self._versions: OrderedDict[int, int] = OrderedDict()

    def forget(self, since: int | None) -> None:
        """What was passed on may not have arrived."""
        self.since = since
        self._versions.clear()

    def plan(self, batch: Batch, state_of: StateOf) -> Plan:
        """What to tell of a batch, which is taken to be given then."""
        whole, passed_over = set(), set()
        for of, change in batch.changes.items():
            known = self._versions.get(of)
            if known is not None and change.last <= known:
                passed_over.add(of)
            elif change.is_fragment and known is None and not self._saw_published(of):
                state = state_of(of)
                if state is None:
                    passed_over.add(of)
                else:
                    whole.add(of)
                    self._remember(of, state.version)
            else:
                self._remember(of, change.last)
        return Plan(frozenset(whole), frozenset(passed_over))

    def _saw_published(self, of: int) -> bool:
        return self.sees_all and self.since is not None and of > self.since

    def _remember(self, of: int, version: int) -> None:
        if self._saw_published(of):
            return
        self._versions[of] = version
        self._versions.move_to_end(of)
        if len(self._versions) > REMEMBERED_MAX:
            self._versions.popitem(last=False)
