"""A channel attached on a connection: what it sees, as which bytes, and where it stands in the log.

One encoding of a batch serves every attachment that has the same view of the channel by the same
name in the same format (design.md 4). Only a batch that holds the connection's own messages is
encoded apart where it does not want their echo. What an encoding holds is counted with it, so that
the statistics cost an addition for each attachment.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from api.realtime.deltas import FORMAT, PARAMETER, Base, as_deltas
from api.realtime.outbox import Outbox
from api.realtime.protocol import Action, encode
from broker.channels.channel_name import ChannelName
from broker.channels.message_filter import MessageFilter
from broker.channels.modes import Mode
from broker.live.delivery import Sort, View, runs
from broker.live.follower import Follower
from broker.live.given import AS_IT_SAYS, Plan, Sight
from broker.live.hub import Batch
from broker.stats.activity import Activity


class Encoded(NamedTuple):
    """The frames of a batch; the `base` that their receivers have then (api.realtime.deltas); how
    many messages and presence messages are in them, and the size of their payloads."""

    data: bytes
    base: Base | None
    messages: int
    messages_size: int
    presence: int
    presence_size: int


_ACTIONS = {
    Sort.MESSAGES: Action.MESSAGE,
    Sort.PRESENCE: Action.PRESENCE,
    Sort.ANNOTATIONS: Action.ANNOTATION,
}


class Attachment(Follower):
    """`name`: as the client wrote it; `base`: the same, parsed. `silent_for`: its connectionId, if
    it wants no echo. `asked`: the modes its client wants; `modes`: those it has; `bits`:
    the same, for the path of every publish. `is_delta`: it is sent differences."""

    name: str
    base: ChannelName
    asked: Mode
    modes: Mode
    bits: int
    is_delta: bool
    params: dict[str, str]

    def prepare(
        self,
        name: str,
        series: str,
        outbox: Outbox,
        lagging: Callable[["Attachment"], None],
        activity: Activity,
        *,
        binary: bool,
        silent_for: str | None,
        message_filter: MessageFilter | None = None,
    ) -> None:
        """Say where it delivers to, and how."""
        self.name = name
        self.is_closed = False
        self._series = series
        self._outbox = outbox
        self._lagging = lagging
        self._activity = activity
        self._counted = 0  # the serial up to which deliveries were counted
        self._binary = binary
        self._silent_for = silent_for
        self._filter = message_filter
        self._base: Base | None = None
        if silent_for is not None or message_filter is not None:
            self.known.sight = Sight(message_filter, silent_for)

    def grant(self, modes: Mode, params: dict[str, str]) -> None:
        """What it may do and sees from now on."""
        self.modes = modes
        self.bits = int(modes)
        self.params = params
        self._view = View(
            self._binary,
            messages=Mode.SUBSCRIBE in modes,
            presence=Mode.PRESENCE_SUBSCRIBE in modes,
            annotations=Mode.ANNOTATION_SUBSCRIBE in modes,
            filter=self._filter,
        )
        self._variant = _variant(self.name, self._view)
        self.is_delta = params.get(PARAMETER) == FORMAT
        self.forget_base()

    def emit(self, batch: Batch) -> None:
        if self.is_closed:
            return
        plan = AS_IT_SAYS
        if batch.annotated:
            self.sum_up(batch)
        if batch.changes:
            plan = self.known.plan(batch, partial(self.state_of, batch))
        if self._silent_for is not None and self._silent_for in batch.publishers:
            view = self._view._replace(without=self._silent_for)
            encoded = self._encode(batch, view, plan)
        else:
            variant: Any = self._variant
            if plan is not AS_IT_SAYS or self.is_delta:
                variant = (variant, plan, self._base)
            shared: Encoded | None = batch.encoded.get(variant)
            if shared is None:
                shared = batch.encoded[variant] = self._encode(batch, self._view, plan)
            encoded = shared
        self._base = encoded.base
        if encoded.data:
            self._outbox.deliver(encoded.data, self, batch.first)
            self._count(batch, encoded)

    def _count(self, batch: Batch, encoded: Encoded) -> None:
        """Once, however often it has to be passed on because an outbox dropped it."""
        if batch.first <= self._counted:
            records = [record for record in batch.records if record.serial > self._counted]
            if not records:
                return
            view = self._view._replace(without=self._silent_for)
            encoded = self._encode(Batch(records), view, AS_IT_SAYS)
        self._counted = batch.last
        app = self.key.app
        if encoded.messages:
            self._activity.delivered(app, encoded.messages, encoded.messages_size)
            if self._activity.passed_on is not None:
                self._activity.passed_on(self.key, encoded.messages)
        if encoded.presence:
            self._activity.delivered(app, encoded.presence, encoded.presence_size, presence=True)

    def lagging(self) -> None:
        self._lagging(self)

    def forget_base(self) -> None:
        """The client may hold something else than what it was given last: it gets the next message
        whole."""
        self._base = None

    def fall_behind(self, position: int) -> None:
        self.forget_base()
        super().fall_behind(position)

    def _encode(self, batch: Batch, view: View, plan: Plan) -> Encoded:
        frames, base = [], self._base
        count, size = Counter[bool](), Counter[bool]()
        for run in runs(batch, self._series, view, plan):
            items = run.items
            if self.is_delta and run.sort is Sort.MESSAGES:
                items, base = as_deltas(items, base, binary=self._binary)
            message = {
                "action": _ACTIONS[run.sort],
                "channel": self.name,
                "channelSerial": run.serial,
                "timestamp": items[-1]["timestamp"],
                run.sort: items,
            }
            frames.append(encode(message, binary=self._binary))
            count[run.sort is Sort.PRESENCE] += len(items)
            size[run.sort is Sort.PRESENCE] += run.size
        return Encoded(b"".join(frames), base, count[False], size[False], count[True], size[True])


def _variant(name: str, view: View) -> str:
    """What tells apart who is sent other bytes: as text, which knows its hash. A filter is in the
    name."""
    seen = (view.binary, view.messages, view.presence, view.annotations)
    return f"{seen}{name}"
