"""What one attachment was given of messages that change: may an append be a fragment to it?

A fragment is of use only to who has the rest. An attachment has the whole of what was published
while it was live, which its position says; of what came before it has what a small cache remembers.
Where neither knows, it is given the message whole, which is always right (reference 3.9).

A message that was given whole may have been ahead of the log's tail: what the tail says of it later
is passed over up to that version. What an attachment is not told of (a filter, echo=false) leaves
it without the rest: of such a message it is told whole, too.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from broker.channels.message_filter import MessageFilter
from broker.events import MessageAppended
from broker.interactions.showing import MessageShown
from broker.interactions.state import State
from broker.live.hub import Batch
from broker.messages.message import Message
from storage import Record

REMEMBERED_MAX = 100


class Plan(NamedTuple):
    """How the changes in a batch are told: of the messages in `whole`, as they stand; of others as
    each change says, behind the version that is in `had`, by the serials of the messages."""

    whole: frozenset[int] = frozenset()
    had: frozenset[tuple[int, int]] = frozenset()


AS_IT_SAYS = Plan()
StateOf = Callable[[int], State | None]


class Sight(NamedTuple):
    """What is kept from an attachment: messages that a filter does not match, changes that its own
    connection made."""

    filter: MessageFilter | None
    silent_for: str | None

    def misses(self, record: Record) -> bool:
        event = record.event
        if isinstance(event, MessageShown):
            return self.hides(event.state.message)
        is_own = self.silent_for is not None and event.sent and event.sent[0] == self.silent_for
        return is_own or self.hides(
            event.fragment if isinstance(event, MessageAppended) else event.message
        )

    def hides(self, message: Message) -> bool:
        return self.filter is not None and not self.filter.matches(message)


class Given:
    """`since`: every message behind this serial was passed on when it was published; None when that
    cannot be said of any. `sight`: None when no message of the channel is kept from the
    attachment."""

    def __init__(self, since: int | None) -> None:
        self.since = since
        self.sight: Sight | None = None
        self._versions: OrderedDict[int, int] = OrderedDict()

    def forget(self, since: int | None) -> None:
        """What was passed on may not have arrived."""
        self.since = since
        self._versions.clear()

    def plan(self, batch: Batch, state_of: StateOf) -> Plan:
        """What to tell of a batch, which is taken to be given then."""
        whole: set[int] = set()
        had: set[tuple[int, int]] = set()
        for of, changes in batch.changes.items():
            known = self._versions.get(of)
            news = [one for one in changes if known is None or version_in(one) > known]
            if known is not None and len(news) < len(changes):
                had.add((of, known))
            if not news:
                continue
            if self._needs_whole(of, known, news):
                whole.add(of)
                self._told_whole(of, news, state_of(of))
            else:
                self._remember(of, version_in(news[-1]))
        return Plan(frozenset(whole), frozenset(had)) if whole or had else AS_IT_SAYS

    def _needs_whole(self, of: int, known: int | None, news: Sequence[Record]) -> bool:
        if self.sight is not None and any(map(self.sight.misses, news)):
            return True
        is_fragment = isinstance(news[0].event, MessageAppended)
        return is_fragment and known is None and not self._saw_published(of)

    def _told_whole(self, of: int, news: Sequence[Record], state: State | None) -> None:
        sight = self.sight
        is_told = state is not None and (
            sight is None or not (sight.hides(state.message) or all(map(sight.misses, news)))
        )
        if state is not None and is_told:
            self._remember(of, state.version)
        else:
            self._versions.pop(of, None)

    def _saw_published(self, of: int) -> bool:
        return self.sight is None and self.since is not None and of > self.since

    def _remember(self, of: int, version: int) -> None:
        if self._saw_published(of):
            return
        self._versions[of] = version
        self._versions.move_to_end(of)
        if len(self._versions) > REMEMBERED_MAX:
            self._versions.popitem(last=False)


def version_in(record: Record) -> int:
    """The version of a message that a record of its change brings it to."""
    event = record.event
    return event.state.version if isinstance(event, MessageShown) else record.serial
