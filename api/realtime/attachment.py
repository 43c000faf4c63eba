"""A channel attached on a connection: what it sees, as which bytes, and where it stands in the log.

One encoding of a batch serves every attachment that has the same view of the channel by the same
name in the same format (design.md 4). Only a batch that holds the connection's own messages is
encoded apart where it does not want their echo. What an encoding holds is counted with it, so that
the statistics cost an addition for each attachment.
"""

from collections.abc import Callable
from typing import NamedTuple

from api.realtime.outbox import Outbox
from api.realtime.protocol import Action, encode
from broker.channels.channel_name import ChannelName
from broker.channels.modes import Mode
from broker.live.delivery import View, runs
from broker.live.follower import Follower
from broker.live.hub import Batch
from broker.stats.activity import Activity


class Encoded(NamedTuple):
    """The frames of a batch; how many messages and presence messages are in them, and the size of
    their payloads."""

    data: bytes
    messages: int
    messages_size: int
    presence: int
    presence_size: int


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
        activity: Activity,
        *,
        binary: bool,
        silent_for: str | None,
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

    def grant(self, modes: Mode, params: dict[str, str]) -> None:
        """What it may do and sees from now on."""
        self.modes = modes
        self.bits = int(modes)
        self.params = params
        self._view = View(
            self._binary,
            messages=Mode.SUBSCRIBE in modes,
            presence=Mode.PRESENCE_SUBSCRIBE in modes,
        )
        self._variant = (self.name, self._view)

    def emit(self, batch: Batch) -> None:
        if self.is_closed:
            return
        if self._silent_for is not None and self._silent_for in batch.publishers:
            encoded = self._encode(batch, self._view._replace(without=self._silent_for))
        else:
            shared: Encoded | None = batch.encoded.get(self._variant)
            if shared is None:
                shared = batch.encoded[self._variant] = self._encode(batch, self._view)
            encoded = shared
        if encoded.data:
            self._outbox.deliver(encoded.data, self, batch.first)
            self._count(batch, encoded)

    def _count(self, batch: Batch, encoded: Encoded) -> None:
        """Once, however often it has to be passed on because an outbox dropped it."""
        if batch.first <= self._counted:
            records = [record for record in batch.records if record.serial > self._counted]
            if not records:
                return
            encoded = self._encode(Batch(records), self._view._replace(without=self._silent_for))
        self._counted = batch.last
        app = self.key.app
        if encoded.messages:
            self._activity.delivered(app, encoded.messages, encoded.messages_size)
        if encoded.presence:
            self._activity.delivered(app, encoded.presence, encoded.presence_size, presence=True)

    def lagging(self) -> None:
        self._lagging(self)

    def _encode(self, batch: Batch, view: View) -> Encoded:
        frames = []
        items, sizes = [0, 0], [0, 0]
        for run in runs(batch.records, self._series, view):
            message = {
                "action": Action.PRESENCE if run.presence else Action.MESSAGE,
                "channel": self.name,
                "channelSerial": run.serial,
                "timestamp": run.items[-1]["timestamp"],
                "presence" if run.presence else "messages": run.items,
            }
            frames.append(encode(message, binary=self._binary))
            items[run.presence] += len(run.items)
            sizes[run.presence] += run.size
        return Encoded(b"".join(frames), items[0], sizes[0], items[1], sizes[1])
