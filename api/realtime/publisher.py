"""What a client publishes: messages and presence become commands, and their outcomes answers.

Everything that one read of the socket brought goes to the log as one job, so that it shares a
commit; the order is kept. A message that breaks a rule is refused alone.
"""

from typing import Any

import trio

from api.realtime.acknowledgements import Acknowledgements, Slot
from api.realtime.attaching import INVALID_NAME, parsed
from api.realtime.protocol import Action, Inbound
from api.realtime.wiring import Wiring
from broker import BrokerError, Outcome
from broker.auth.credentials import NOT_PERMITTED
from broker.channels import meta
from broker.channels.channel_name import ChannelName
from broker.channels.modes import Mode
from broker.channels.presence import ChangePresence
from broker.channels.presence_input import read_presence
from broker.errors import BadRequest, NotFound, Unauthorized
from broker.interactions import annotator
from broker.interactions.annotating import AnnotateMessage
from broker.interactions.changing import ChangeMessage
from broker.interactions.editor import cost_of
from broker.limits import limiter
from broker.messages import wire
from broker.messages.publish import Permit, permit
from broker.messages.publishing import Origin, Publish
from broker.messages.serials import render

Command = Publish | ChangePresence | ChangeMessage | AnnotateMessage
FORCED_NACK = 40099
MODE_NOT_GRANTED = 40165
NOT_ATTACHED = 90001
PENDING_MAX = 10_000
CHANNELS_REMEMBERED = 100
MSG_SERIALS = 1 << 63  # a client counts from 0
# As plain numbers: an enum takes longer over `in` than the rest of a message over its checks.
PUBLISH, PRESENCE = int(Mode.PUBLISH), int(Mode.PRESENCE)
ANNOTATION_PUBLISH = int(Mode.ANNOTATION_PUBLISH)


class Publisher:
    """`resumed`: whether what comes may have been accepted before."""

    def __init__(self, wiring: Wiring, *, resumed: bool) -> None:
        self._wiring = wiring
        self._resumed = resumed
        self._newest = -1
        self._permits: dict[str, Permit] = {}
        self._answers = Acknowledgements(wiring.send)
        self._commands: list[Command] = []
        self._slots: list[Slot] = []
        self._cost = 0
        self._rate_limits = wiring.broker.epoch.rate_limits
        self._limited: dict[int, Any] = {}
        self._room: trio.Event | None = None

    def message(self, pm: Inbound, attached: int | None) -> None:
        """A MESSAGE. `attached`: the modes granted on its channel, None when not attached."""
        slot = self._expect(pm)
        try:
            only = pm.messages[0] if pm.messages and len(pm.messages) == 1 else None
            if only is not None and wire.is_change(only):
                change = self._change_message(pm, only, attached)
                self._add(slot, change, cost_of(change))
                return
            command = self._publish(pm, attached)
            self._add(slot, command, command.size_bytes)
        except BrokerError as error:
            self._refuse(slot, error, pm)

    def presence(self, pm: Inbound, attached: int | None) -> None:
        """A PRESENCE. As `message`."""
        slot = self._expect(pm)
        try:
            command = self._change(pm, attached)
            self._add(slot, command, 256 * len(command.changes))
        except BrokerError as error:
            self._refuse(slot, error, pm)

    def annotation(self, pm: Inbound, attached: int | None) -> None:
        """An ANNOTATION. As `message`."""
        slot = self._expect(pm)
        try:
            origin, name = self._origin(pm), _ordinary(pm.channel)
            _require(ANNOTATION_PUBLISH, attached)
            command = self._wiring.broker.annotator.prepare(
                self._wiring.principal, name.name, pm.annotations or [], origin=origin
            )
            self._add(slot, command, annotator.cost_of(command))
        except BrokerError as error:
            self._refuse(slot, error, pm)

    def refuse(self, msg_serial: int, error: BrokerError) -> None:
        """A message that could not be read at all."""
        self._answers.expect(msg_serial).answer = error
        self._count_refused(error)

    def flush(self) -> None:
        """Hand over what was collected, and answer what can be."""
        if self._commands:
            commands, slots, cost = self._commands, self._slots, self._cost
            limited, self._limited = self._limited, {}
            self._commands, self._slots, self._cost = [], [], 0
            try:
                self._submit(commands, slots, cost, limited)
            except BrokerError as error:
                for slot, command in zip(slots, commands, strict=True):
                    slot.answer = error
                    self._count_refused(error, presence=isinstance(command, ChangePresence))
        self._answers.flush()

    async def wait_for_room(self) -> None:
        """A client that sends faster than the disk takes it is read no further for a while."""
        while len(self._answers) > PENDING_MAX:
            self._room = self._room or trio.Event()
            await self._room.wait()

    def _refuse(self, slot: Slot, error: BrokerError, pm: Inbound) -> None:
        slot.answer = error
        self._wiring.refused(error, pm.channel)
        self._count_refused(error, presence=pm.action == Action.PRESENCE)

    def _count_refused(self, error: BrokerError, *, presence: bool = False) -> None:
        self._wiring.broker.epoch.activity.publish_refused(
            self._wiring.app, "realtime", error.status, presence=presence
        )

    def _expect(self, pm: Inbound) -> Slot:
        return self._answers.expect(-1 if pm.msg_serial is None else pm.msg_serial)

    def _add(self, slot: Slot, command: Command, cost: int) -> None:
        """Raises Overloaded 42910 to 42917, and nothing is added."""
        if self._rate_limits.is_on:
            self._admit(command, cost)
        self._commands.append(command)
        self._slots.append(slot)
        self._cost += cost

    def _admit(self, command: Command, cost: int) -> None:
        """What is too much, but may have been accepted before, goes to the log under that
        condition (broker.limits.only_if_known)."""
        asked = limiter.Publish(
            command.channel,
            len(command.changes) if isinstance(command, ChangePresence) else _results(command),
            cost,
            self._wiring.held.id,
            may_be_known=self._may_be_known(command),
        )
        admitted = self._rate_limits.admit(self._wiring.principal, command, asked)
        if admitted is not command:
            self._limited[len(self._commands)] = admitted

    def _may_be_known(self, command: Command) -> bool:
        if isinstance(command, ChangePresence):
            return self._resumed
        return bool(command.resent or getattr(command, "keyed", False))

    def _submit(
        self, commands: list[Command], slots: list[Slot], cost: int, limited: dict[int, Any]
    ) -> None:
        """`limited`: what goes to the log in place of some commands, by their place."""
        series, metrics = self._wiring.broker.series, self._wiring.broker.metrics

        def done(results: list[Outcome | BrokerError]) -> None:
            told = 0
            for slot, command, result in zip(slots, commands, results, strict=True):
                if isinstance(result, BrokerError):
                    slot.answer = result
                    if result.status < 500:  # the log itself can hold no report of its failures
                        self._wiring.refused(result, command.channel)
                    self._count_refused(result, presence=isinstance(command, ChangePresence))
                elif isinstance(command, ChangePresence):
                    slot.answer = ()
                    told = max((told, *(serial or 0 for serial in result.serials)))
                else:
                    count = _results(command)
                    if isinstance(command, Publish):
                        metrics.published(count, command.size_bytes, result)
                    serials = result.serials[:count]
                    slot.answer = [None if s is None else render(s, series) for s in serials]
            # SDKs take their own presence from its echo: it must be there before the ACK is.
            self._wiring.broker.epoch.hub.after(told, self._answer)

        given: list[Any] = list(commands) if limited else commands
        for place, admitted in limited.items():
            given[place] = admitted
        self._wiring.broker.publisher.enqueue(self._wiring.app, given, done, cost=cost)

    def _answer(self) -> None:
        self._answers.flush()
        if self._room is not None:
            self._room.set()
            self._room = None

    def _origin(self, pm: Inbound) -> Origin:
        if pm.msg_serial is None or not 0 <= pm.msg_serial < MSG_SERIALS:
            raise BadRequest("msgSerial is missing, or not a number that a client counts to")
        is_new = pm.msg_serial > self._newest
        if is_new:
            self._newest = pm.msg_serial
        return Origin(self._wiring.held.id, pm.msg_serial, self._resumed or not is_new)

    def _publish(self, pm: Inbound, attached: int | None) -> Publish:
        origin, permitted = self._origin(pm), self._permit(pm.channel or "")
        if pm.params is not None and str(pm.params.get("_forceNack")).lower() == "true":
            raise BadRequest("refused because _forceNack was given", FORCED_NACK)
        _require(PUBLISH, attached)
        messages = wire.read_messages(pm.messages or [])
        return self._wiring.broker.publisher.prepare(permitted, messages, origin)

    def _change_message(self, pm: Inbound, item: Any, attached: int | None) -> ChangeMessage:
        origin, name = self._origin(pm), _ordinary(pm.channel)
        _require(PUBLISH, attached)
        change = wire.read_change(item)
        return self._wiring.broker.editor.prepare(self._wiring.principal, name.name, change, origin)

    def _permit(self, channel: str) -> Permit:
        """Judged once for all that this principal publishes there."""
        found = self._permits.get(channel)
        if found is not None and found.principal is self._wiring.principal:
            return found
        found = permit(self._wiring.principal, _ordinary(channel).name)
        if len(self._permits) >= CHANNELS_REMEMBERED:
            self._permits.clear()
        self._permits[channel] = found
        return found

    def _change(self, pm: Inbound, attached: int | None) -> ChangePresence:
        origin, name = self._origin(pm), _ordinary(pm.channel)
        principal, settings = self._wiring.principal, self._wiring.broker.settings
        principal.require("presence", name.name)
        if attached is None:
            raise NotFound("attach to the channel before entering it", NOT_ATTACHED)
        _require(PRESENCE, attached)
        changes = read_presence(
            pm.presence or [],
            principal,
            origin.connection,
            origin.msg_serial,
            settings.message_bytes_max,
        )
        return ChangePresence(
            principal.app_id,
            name.name,
            origin.connection,
            changes,
            origin.msg_serial,
            settings.presence_members_max,
        )


def _results(command: Publish | ChangeMessage | AnnotateMessage) -> int:
    """How many of a command's events are its own; those that open a channel come behind them."""
    if isinstance(command, Publish):
        return len(command.messages)
    return len(command.annotations) if isinstance(command, AnnotateMessage) else 1


def _ordinary(channel: str | None) -> ChannelName:
    """The channel that a message is for. Raises BadRequest 40010, Unauthorized 40160."""
    name = parsed(channel or "")
    if name.qualifier == meta.QUALIFIER:
        raise Unauthorized("nobody publishes to a metachannel", NOT_PERMITTED)
    if name.qualifier is not None:
        raise BadRequest("nothing can be published to a qualified channel", INVALID_NAME)
    return name


def _require(mode: int, attached: int | None) -> None:
    if attached is not None and not attached & mode:
        raise Unauthorized(
            f"the channel was attached without the mode {Mode(mode).name}", MODE_NOT_GRANTED
        )
