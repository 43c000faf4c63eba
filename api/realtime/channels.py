"""The channels of one connection: attached, synced, caught up, detached (RTL4, RTL5, RTP17-19)."""

from typing import Any

from api.realtime.attaching import Wanted, permitted, wanted
from api.realtime.attachment import Attachment
from api.realtime.catching_up import CatchingUp
from api.realtime.occupancy_reports import OccupancyReports
from api.realtime.protocol import (
    HAS_BACKLOG,
    HAS_PRESENCE,
    RESUMED,
    Action,
    Inbound,
)
from api.realtime.syncing import sync
from api.realtime.wiring import Wiring
from broker import BrokerError
from broker.auth.credentials import NOT_PERMITTED
from broker.channels import meta
from broker.channels.modes import ALL, Mode
from broker.channels.occupancy import Attach, Detach
from broker.errors import BadRequest, NotFound, Unauthorized
from broker.live.attach_point import AttachPoint
from broker.messages.serials import render

TOO_MANY_CHANNELS = 90010
NOT_RECOVERABLE = 90003
SPOKEN_OF_MAX = 1_000  # whoever resumed has said by then what it is attached to


class Channels:
    def __init__(self, wiring: Wiring, *, resumed: bool) -> None:
        self._wiring = wiring
        self._resumed = resumed
        self._spoken_of: set[str] = set()
        self._attached: dict[str, Attachment] = {}
        self._occupancy = OccupancyReports(wiring)
        self._catching_up = CatchingUp(wiring)

    @property
    def are_catching_up(self) -> bool:
        return self._catching_up.is_running

    def modes(self, name: str | None) -> int | None:
        """The bits of what is granted on a channel, None when it is not attached."""
        attachment = self._attached.get(name or "")
        return None if attachment is None else attachment.bits

    def presence_modes(self, name: str | None) -> int | None:
        """The same for PRESENCE. A client that resumed sends again what was not acknowledged before
        it has attached again (RTN19a): until it says otherwise, it is taken to be attached."""
        if self._resumed and name not in self._spoken_of:
            return int(ALL)
        return self.modes(name)

    def attach(self, pm: Inbound) -> None:
        name = pm.channel or ""
        self._speaks_of(name)
        try:
            self._check_room(name)
            self._attach(wanted(pm, self._wiring.principal), self._attached.get(name))
        except BrokerError as error:
            self._fail(name, error)

    def _attach(self, asked: Wanted, known: Attachment | None) -> None:
        """A channel that is attached goes on, unless it is to be rewound, or could not make sense
        of a delta and says where that was (RTL18c)."""
        recovers = known is not None and _recovers(known, asked)
        if known is not None and not recovers and (asked.continues or asked.rewind is None):
            known.asked = asked.asked
            self._grant(known, asked.modes, asked.params, resumed=asked.continues)
            return
        if known is not None:
            self._drop(known)
        self._begin(asked)

    def detach(self, pm: Inbound) -> None:
        name = pm.channel or ""
        self._speaks_of(name)
        attachment = self._attached.get(name)
        if attachment is not None:
            self._leave(attachment)
            self._drop(attachment)
        self._wiring.send({"action": Action.DETACHED, "channel": name})

    def sync(self, pm: Inbound) -> None:
        """The client asks who is there (RTP19a)."""
        attachment = self._attached.get(pm.channel or "")
        if attachment is not None and Mode.PRESENCE_SUBSCRIBE in attachment.modes:
            sync(self._wiring, attachment)

    def judge_again(self) -> None:
        """The credentials changed: what was asked for is granted anew, more of it or less; a
        channel that they no longer permit fails (RTC8a1)."""
        for attachment in list(self._attached.values()):
            granted = attachment.asked & permitted(attachment.base, self._wiring.principal)
            if not granted:
                error = Unauthorized(
                    "the new credentials do not permit this channel", NOT_PERMITTED
                )
                self._fail(attachment.name, error)
            elif granted != attachment.modes:
                self._grant(attachment, granted, attachment.params)

    def drop_all(self) -> None:
        """The transport is gone; what members remain is the connection's business."""
        for attachment in list(self._attached.values()):
            self._drop(attachment)

    def _speaks_of(self, name: str) -> None:
        if not self._resumed:
            return
        self._spoken_of.add(name)
        if len(self._spoken_of) > SPOKEN_OF_MAX:
            self._resumed = False

    def _check_room(self, name: str) -> None:
        limit = self._wiring.broker.settings.connection_channels_max
        if name not in self._attached and len(self._attached) >= limit:
            raise BadRequest(f"a connection attaches at most {limit} channels", TOO_MANY_CHANNELS)

    def _fail(self, name: str, error: BrokerError) -> None:
        attachment = self._attached.get(name)
        if attachment is not None:
            self._leave(attachment)
            self._drop(attachment)
        self._wiring.send({"action": Action.ERROR, "channel": name, "error": error.info})
        self._wiring.refused(error, name)

    def _begin(self, asked: Wanted) -> None:
        wiring = self._wiring
        key, point = wiring.broker.epoch.attach_points.find(
            wiring.app,
            asked.name,
            asked.modes,
            serial=asked.serial,
            rewind=self._rewind(asked),
            selected=asked.filter,
        )
        attachment = Attachment(wiring.broker.log, key, point.position, point.floors)
        attachment.prepare(
            asked.name.sent,
            wiring.broker.series,
            wiring.outbox,
            self._catching_up.add,
            wiring.broker.epoch.activity,
            binary=wiring.binary,
            silent_for=None if wiring.echo else wiring.held.id,
            message_filter=asked.filter,
        )
        attachment.grant(asked.modes, asked.params)
        attachment.base, attachment.asked = asked.name, asked.asked
        self._attached[attachment.name] = attachment
        attachment.behind = point.has_backlog
        if point.floors:
            wiring.broker.epoch.hub.add(key, attachment)
        self._record(Attach, attachment)
        self._attached_reply(attachment, point, point.position, resumed=point.resumed)
        if point.has_backlog:
            self._catching_up.add(attachment)

    def _rewind(self, asked: Wanted) -> Any:
        """A client that continues is not rewound, whether or not it can (reference 3.7)."""
        return None if asked.continues else asked.rewind

    def _grant(
        self, attachment: Attachment, modes: Mode, params: dict[str, str], *, resumed: bool = True
    ) -> None:
        """An attached channel goes on where it is, with what is granted now."""
        broker, hub = self._wiring.broker, self._wiring.broker.epoch.hub
        key, point = broker.epoch.attach_points.find(self._wiring.app, attachment.base, modes)
        self._occupancy.stop(attachment)
        if modes != attachment.modes:
            self._record(Detach, attachment)
            attachment.modes = modes
            self._record(Attach, attachment)
        attachment.grant(modes, params)
        attachment.follow(point.floors, point.now)
        if point.floors:
            hub.add(key, attachment)
        else:
            hub.remove(key, attachment)
        self._attached_reply(attachment, point, attachment.position, resumed=resumed)

    def _attached_reply(
        self, attachment: Attachment, point: AttachPoint, position: int, *, resumed: bool
    ) -> None:
        """ATTACHED, then who is there and how many, before anything that is delivered."""
        flags = int(attachment.modes)
        flags |= RESUMED if resumed else 0
        flags |= HAS_BACKLOG if attachment.behind else 0
        flags |= HAS_PRESENCE if point.members else 0
        reply: dict[str, Any] = {
            "action": Action.ATTACHED,
            "channel": attachment.name,
            "channelSerial": render(position, self._wiring.broker.series),
            "flags": flags,
        }
        if attachment.params:
            reply["params"] = attachment.params
        if point.missed:
            reply["error"] = NotFound(point.missed, NOT_RECOVERABLE).info
        self._wiring.send(reply)
        if point.members:
            sync(self._wiring, attachment)
        self._occupancy.start(attachment)

    def _record(self, event: type[Attach] | type[Detach], attachment: Attachment) -> None:
        """In the log; nobody waits for it."""
        wiring = self._wiring
        if attachment.base.qualifier == meta.QUALIFIER:
            return
        epoch = wiring.broker.epoch.connections.epoch
        command = event(
            wiring.app, attachment.base.name, wiring.held.id, int(attachment.modes), epoch
        )
        wiring.broker.epoch.background.post(wiring.app, command)

    def _leave(self, attachment: Attachment) -> None:
        if Mode.PRESENCE in attachment.modes:
            wiring = self._wiring
            wiring.broker.epoch.connections.leave_channel(wiring.held, attachment.base.name)

    def _drop(self, attachment: Attachment) -> None:
        attachment.is_closed = True
        del self._attached[attachment.name]
        self._catching_up.discard(attachment)
        self._occupancy.stop(attachment)
        self._wiring.broker.epoch.hub.remove(attachment.key, attachment)
        self._record(Detach, attachment)


def _recovers(known: Attachment, asked: Wanted) -> bool:
    """Whether a client lost the thread of its deltas. It passes over what comes until it is told
    that it is attached, so that must come again; one that asks for something else does not."""
    same = (asked.params, asked.asked) == (known.params, known.asked)
    return known.is_delta and same and asked.serial is not None
