"""Where an attachment begins in the log: now, behind what its client last saw, or rewound.

Everything is found in one read transaction, so that what ATTACHED says, what SYNC tells and what is
delivered afterwards fit together without a gap or an overlap (design.md 4). Resuming and rewinding
are the same thing: beginning at an earlier position.
"""

import re
from itertools import islice
from typing import NamedTuple

from broker.channels import meta, presence
from broker.channels.channel_name import ChannelName
from broker.channels.message_filter import MessageFilter
from broker.channels.modes import Mode
from broker.channels.presence import MembersPage, members_page
from broker.errors import BadRequest
from broker.event import Kind
from broker.interactions.showing import message_of
from broker.live.connection_log import was_lost
from broker.live.hub import ChannelKey
from broker.messages.serials import before, parse
from broker.storage_errors import mapped
from storage import Log, Span, Stream, View
from storage.serial import first_at

UNITS_MS = {"s": 1_000, "m": 60_000}
REWIND_MESSAGES_MAX = 100
REWIND_SCANNED_MAX = 500  # messages that a filtered rewind looks at, in the loop
_REWIND = re.compile(r"(\d{1,9})([sm]?)", re.ASCII)
_DURABLE = (Kind.MESSAGES, Kind.CONNECTIONS, Kind.LIFECYCLE)
# What is told of messages besides: who resumes has missed it, who rewinds sees it in them.
_MISSED = (*_DURABLE, Kind.VERSIONS, Kind.ANNOTATIONS)
MESSAGE_KINDS = (*_MISSED, Kind.EPHEMERAL)


class Rewind(NamedTuple):
    """The last `messages` of a channel, of the last `ms` milliseconds if that is not 0."""

    messages: int
    ms: int = 0


class AttachPoint(NamedTuple):
    """position: what lies behind it is delivered. floors: per kind, where its records begin.
    now: where the log ends. resumed: nothing was missed (RTL2f). missed: why something was.
    members: how many the channel has."""

    position: int
    floors: dict[int, int]
    now: int
    resumed: bool = False
    missed: str | None = None
    members: int = 0

    @property
    def has_backlog(self) -> bool:
        return self.position < self.now


def parse_rewind(text: str, limit: str | None) -> Rewind:
    """`10`, `30s` or `2m`, at most `limit` messages (reference 3.7). Raises BadRequest 40000."""
    match = _REWIND.fullmatch(text)
    if match is None:
        raise BadRequest("rewind must be a number of messages, or a time like 30s or 2m")
    if limit is not None and not (limit.isascii() and limit.isdigit()):
        raise BadRequest("rewindLimit must be a number of messages")
    amount, unit = int(match[1]), match[2]
    count = REWIND_MESSAGES_MAX if unit else amount
    bound = min(count, REWIND_MESSAGES_MAX, int(limit) if limit is not None else count)
    return Rewind(bound, amount * UNITS_MS.get(unit, 0))


def followed(app: str, name: ChannelName, modes: Mode) -> tuple[ChannelKey, tuple[Kind, ...]]:
    """Which channel's records, of which kinds, an attachment with these modes sees."""
    if name.qualifier == meta.QUALIFIER:
        return meta.followed(app, name)
    seen: tuple[Kind, ...] = ()
    if Mode.SUBSCRIBE in modes:
        seen += (Kind.MESSAGES, Kind.VERSIONS, Kind.ANNOTATIONS, Kind.EPHEMERAL)
    elif Mode.ANNOTATION_SUBSCRIBE in modes:
        seen += (Kind.ANNOTATIONS,)
    if Mode.PRESENCE_SUBSCRIBE in modes:
        seen += (Kind.PRESENCE,)
    return ChannelKey(app, name.name), seen


def attach_point(
    view: View,
    key: ChannelKey,
    kinds: tuple[Kind, ...],
    *,
    after: int | None = None,
    rewind: Rewind | None = None,
    selected: MessageFilter | None = None,
    now_ms: int = 0,
) -> AttachPoint:
    """after: the serial that the client last saw; nothing else is looked at when it is given.
    selected: which messages a rewind counts."""
    now = view.position
    floors = {int(kind): now for kind in kinds}
    members = presence.count(view, *key) if Kind.PRESENCE in kinds else 0
    here = AttachPoint(now, floors, now, members=members)
    if after is not None:
        return _resumed(view, key, here, after)
    if rewind is not None and rewind.messages:
        return _rewound(view, key, here, rewind, selected, now_ms)
    return here


def _resumed(view: View, key: ChannelKey, here: AttachPoint, after: int) -> AttachPoint:
    streams = [Stream(*key, kind) for kind in here.floors]
    if after > here.now:
        return here._replace(missed="the channelSerial lies in the future of this log")
    if was_lost(view, after):
        return here._replace(missed="the broker was restored to a time before the channelSerial")
    if any(view.trimmed(stream) > after for stream in streams if stream.kind in _MISSED):
        return here._replace(missed="messages behind the channelSerial are no longer kept")
    floors = {k: after if k in MESSAGE_KINDS else floor for k, floor in here.floors.items()}
    newest = max((view.last(s) for s in streams if s.kind in MESSAGE_KINDS), default=0)
    position = after if newest > after else here.now
    return here._replace(position=position, floors=floors, resumed=True)


def _rewound(
    view: View,
    key: ChannelKey,
    here: AttachPoint,
    rewind: Rewind,
    selected: MessageFilter | None,
    now_ms: int,
) -> AttachPoint:
    since = first_at(max(0, now_ms - rewind.ms)) if rewind.ms else 0
    durable = [kind for kind in here.floors if kind in _DURABLE]
    if selected is not None:
        found = [_nth_last_selected(view, key, rewind.messages, since, selected)]
    else:
        found = [view.nth_last(Stream(*key, kind), rewind.messages, since) for kind in durable]
    first = max(found, default=0)
    if not first:
        return here
    start = before(first)
    floors = {k: start if k in durable else floor for k, floor in here.floors.items()}
    return here._replace(position=start, floors=floors)


def _nth_last_selected(
    view: View, key: ChannelKey, count: int, since: int, selected: MessageFilter
) -> int:
    """As View.nth_last, of the messages that a filter matches; it looks at so many only."""
    stream = Stream(*key, Kind.MESSAGES)
    page = view.page(stream, Span(since, reverse=True), limit=REWIND_SCANNED_MAX)
    found = 0
    matching = (r for r in page.records if selected.matches(message_of(view, r)))
    for record in islice(matching, count):
        found = record.serial
    return found


class AttachPoints:
    """What attaching asks of the log, at once and in the loop."""

    def __init__(self, log: Log, series: str) -> None:
        self._log = log
        self._series = series

    def find(
        self,
        app: str,
        name: ChannelName,
        modes: Mode,
        *,
        serial: str | None = None,
        rewind: Rewind | None = None,
        selected: MessageFilter | None = None,
    ) -> tuple[ChannelKey, AttachPoint]:
        """Where an attachment begins. `serial`: the last channelSerial that its client saw."""
        after, missed = None, None
        if serial is not None:
            try:
                after = parse(serial, self._series)
            except BadRequest as error:
                missed, rewind = error.message, None
        key, kinds = followed(app, name, modes)
        with mapped(), self._log.view() as view:
            point = attach_point(
                view,
                key,
                kinds,
                after=after,
                rewind=rewind,
                selected=selected,
                now_ms=self._log.clock.now(),
            )
        return key, point._replace(missed=point.missed or missed)

    def presence_serial(self, app: str, channel: str) -> int:
        """The serial of the last presence event that a channel ever had; 0 when there was none."""
        stream = Stream(app, channel, Kind.PRESENCE)
        with mapped(), self._log.view() as view:
            return max(view.last(stream), view.trimmed(stream))

    def first_members(self, app: str, channel: str, limit: int) -> MembersPage:
        """The first page of who is on a channel, read at once: at most a few hundred."""
        with mapped(), self._log.view() as rows:
            return members_page(rows, app, channel, b"", limit, None, None)
