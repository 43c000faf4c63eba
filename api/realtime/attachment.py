"""A channel attached on a connection: what it sees, as which bytes, and where it stands in the log.

One encoding of a batch serves every attachment that has the same view of the channel by the same
name in the same format (design.md 4). Only a batch that holds the connection's own messages is
encoded apart where it does not want their echo.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from api.realtime.deltas import FORMAT, PARAMETER, Base, as_deltas
from api.realtime.outbox import Outbox
from api.realtime.protocol import Action, encode
from broker.channels.channel_name import ChannelName
from broker.channels.message_filter import MessageFilter
from broker.channels.modes import Mode
from broker.live.delivery import Sort, View, runs
from broker.live.follower import Follower
from broker.live.given import AS_IT_SAYS, Plan
from broker.live.hub import Batch

_ACTIONS = {
    Sort.MESSAGES: Action.MESSAGE,
    Sort.PRESENCE: Action.PRESENCE,
    Sort.ANNOTATIONS: Action.ANNOTATION,
}


class Attachment(Follower):
    """`name`: as the client wrote it; `base`: the same, parsed. `silent_for`: its connectionId, if
    it wants no echo. `asked`: the modes its client wants; `modes`: those it has; `bits`:
    the same, for the path of every publish."""

    name: str
    base: ChannelName
    asked: Mode
    modes: Mode
    bits: int
    params: dict[str, str]

    def prepare(
        self,
        name: str,
        series: str,
        outbox: Outbox,
        lagging: Callable[["Attachment"], None],
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
        self._binary = binary
        self._silent_for = silent_for
        self._filter = message_filter
        self._base: Base | None = None
        self.known.sees_all = silent_for is None and message_filter is None

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
        self._is_delta = params.get(PARAMETER) == FORMAT
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
            data, self._base = self._encode(batch, view, plan)
        else:
            variant: Any = self._variant
            if plan is not AS_IT_SAYS or self._is_delta:
                variant = (variant, plan, self._base)
            shared = batch.encoded.get(variant)
            if shared is None:
                shared = batch.encoded[variant] = self._encode(batch, self._view, plan)
            data, self._base = shared
        if data:
            self._outbox.deliver(data, self, batch.first)

    def lagging(self) -> None:
        self._lagging(self)

    def forget_base(self) -> None:
        """The client may hold something else than what it was given last: it gets the next message
        whole."""
        self._base = None

    def fall_behind(self, position: int) -> None:
        self.forget_base()
        super().fall_behind(position)

    def _encode(self, batch: Batch, view: View, plan: Plan) -> tuple[bytes, Base | None]:
        """The frames, and what its receivers hold then."""
        frames, base = [], self._base
        for run in runs(batch, self._series, view, plan):
            items = run.items
            if self._is_delta and run.sort is Sort.MESSAGES:
                items, base = as_deltas(items, base, binary=self._binary)
            message = {
                "action": _ACTIONS[run.sort],
                "channel": self.name,
                "channelSerial": run.serial,
                "timestamp": items[-1]["timestamp"],
                run.sort: items,
            }
            frames.append(encode(message, binary=self._binary))
        return b"".join(frames), base


def _variant(name: str, view: View) -> str:
    """What tells apart who is sent other bytes: as text, which knows its hash. A filter is in the
    name."""
    seen = (view.binary, view.messages, view.presence, view.annotations)
    return f"{seen}{name}"
