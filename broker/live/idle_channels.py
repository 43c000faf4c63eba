"""Closing channels that nobody uses any more: a deadline per active channel, then an event."""

from functools import partial

import msgspec

from broker import tenancy
from broker.channels import lifecycle, occupancy, presence
from broker.event import Kind
from broker.events import ChannelClosed, ChannelOpened
from broker.live.background import Background
from broker.live.connections import Connections
from broker.live.hub import Hub
from broker.live.timers import Timers
from storage import Decision, Log, Outcome, Record, Rows, Stream, View
from storage.projection import Decide
from storage.serial import ms_of

_ACTIVITY = (Kind.MESSAGES, Kind.EPHEMERAL, Kind.PRESENCE, Kind.ATTACHMENTS)


class CloseChannel(msgspec.Struct, frozen=True):
    """Close a channel without attachments in a running epoch, as `epoch` is, and without
    members."""

    app: str
    channel: str
    epoch: int


def close(rows: Rows, command: CloseChannel, ms: int) -> Decision:
    app, channel, epoch = command.app, command.channel, command.epoch
    if not lifecycle.is_active(rows, app, channel) or not tenancy.app_exists(rows, app):
        return Decision()
    if occupancy.attached(rows, app, channel, epoch) or presence.count(rows, app, channel):
        return Decision()
    return Decision([(Stream(app, "", Kind.LIFECYCLE), ChannelClosed(channel))])


DECIDE: dict[type, Decide] = {CloseChannel: close}


class IdleChannels:
    """Watches every active channel, from `start` on: in one process of those that share a log."""

    def __init__(
        self,
        log: Log,
        hub: Hub,
        timers: Timers,
        background: Background,
        connections: Connections,
        idle_ms: int,
    ) -> None:
        self._log = log
        self._timers = timers
        self._background = background
        self._idle_ms = idle_ms
        self._connections = connections
        self._watching = False
        hub.watch(Kind.LIFECYCLE, self._changed)

    def start(self) -> None:
        """Watch what the last epoch left active."""
        self._watching = True
        with self._log.view() as view:
            found = list(lifecycle.active(view))
        for app, channel in found:
            self._check_later(app, channel)

    def _changed(self, record: Record) -> None:
        if isinstance(record.event, ChannelOpened) and self._watching:
            self._check_later(record.stream.app, record.event.channel)

    def _check_later(self, app: str, channel: str) -> None:
        self._timers.schedule(self._idle_ms, partial(self._check, app, channel))

    def _check(self, app: str, channel: str) -> None:
        with self._log.view() as view:
            if not lifecycle.is_active(view, app, channel):
                return
            used = occupancy.attached(
                view, app, channel, self._connections.epoch
            ) or presence.count(view, app, channel)
            idle_from = self._log.clock.now() - self._idle_ms
            if used or _last_activity_ms(view, app, channel) > idle_from:
                self._check_later(app, channel)
                return
        command = CloseChannel(app, channel, self._connections.epoch)
        self._background.post(app, command, then=partial(self._closed, app, channel))

    def _closed(self, app: str, channel: str, outcome: Outcome) -> None:
        """Somebody may have come between the check and the decision."""
        if not outcome.serials:
            self._check_later(app, channel)


def _last_activity_ms(view: View, app: str, channel: str) -> int:
    return ms_of(max(view.last(Stream(app, channel, kind)) for kind in _ACTIVITY))
