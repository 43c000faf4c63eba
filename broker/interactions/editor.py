"""Changing messages as callers do it, and asking how they stand and stood.

Who may change a message is judged here, from the credentials and from who published it, which never
changes; what depends on how it stands is decided in the log's transaction.
"""

import msgspec

from broker import randomness
from broker.auth.credentials import NOT_PERMITTED, WILDCARD, Principal
from broker.errors import BadRequest, NotFound, Unauthorized
from broker.events import Operation
from broker.interactions.change import Change
from broker.interactions.changing import NOT_MUTABLE, ChangeMessage
from broker.interactions.state import DELETE, State
from broker.interactions.versions import published_at, versions
from broker.limits import limiter
from broker.live.epoch import Epoch
from broker.messages.extras import check_encodable
from broker.messages.history import as_it_stands, stored
from broker.messages.message import Message, StoredMessage
from broker.messages.publish import DEFAULT_LIMITS, check_unicode, checked_message
from broker.messages.publishing import Origin
from broker.messages.serials import parse, render
from broker.settings import BrokerSettings
from broker.storage_errors import mapped
from storage import Log, Record, View

UNIDENTIFIED_OWNER = 40166
INVALID_VALUE = 40003


class VersionsPage(msgspec.Struct, frozen=True):
    """`next`: the version behind which the next page begins, None when this was the last."""

    messages: tuple[StoredMessage, ...]
    next: str | None


class Editor:
    def __init__(self, log: Log, epoch: Epoch, settings: BrokerSettings, series: str) -> None:
        self._log = log
        self._epoch = epoch
        self._settings = settings
        self._series = series

    async def change(self, principal: Principal, channel: str, wanted: Change) -> str:
        """The serial of the new version. Raises as `prepare`; BadRequest 93002 where messages
        cannot change, 40013 for data that does not fit behind the data, 40009 (413) too much;
        Overloaded."""
        command = self.prepare(principal, channel, wanted)
        asked = limiter.Publish(channel, 1, cost_of(command))
        admitted = self._epoch.rate_limits.admit(principal, command, asked)
        with mapped():
            outcome = await self._log.submit(admitted, app=command.app, cost=cost_of(command))
        return render(outcome.serials[0] or 0, self._series)

    def prepare(
        self, principal: Principal, channel: str, wanted: Change, origin: Origin | None = None
    ) -> ChangeMessage:
        """The command that makes a change. Raises NotFound: no such message. Unauthorized: 40160,
        40166 a message of others. BadRequest: 93002 where messages cannot change, 40003 no serial,
        40012 clientId, 40016 name, 40032 extras."""
        if not self._epoch.rules.get(principal.app_id, channel).mutable_messages:
            raise BadRequest("messages of this channel cannot be changed", NOT_MUTABLE)
        serial = self._parsed(wanted.serial)
        with mapped(), self._log.view() as view:
            original = self._published(view, principal.app_id, channel, serial).event.message
        _require(principal, channel, wanted.action, original)
        change = checked_message(wanted.message, principal, channel, DEFAULT_LIMITS)
        base = origin.base if origin else randomness.new_id()
        return ChangeMessage(
            principal.app_id,
            channel,
            serial,
            wanted.action,
            f"{base}:0",
            original,
            change,
            self._settings.message_bytes_max,
            _signed(principal, wanted.operation),
            (origin.connection, origin.msg_serial) if origin else None,
            resent=bool(origin and origin.resent),
        )

    async def message(self, principal: Principal, channel: str, serial: str) -> StoredMessage:
        """A message as it stands. Raises Unauthorized 40160, BadRequest 40003, NotFound."""
        principal.require("history", channel)
        app, number = principal.app_id, self._parsed(serial)

        def ask(view: View) -> StoredMessage:
            record = self._published(view, app, channel, number)
            return as_it_stands(view, record, self._series)

        with mapped():
            return await self._log.query(ask)

    async def versions(
        self, principal: Principal, channel: str, serial: str, *, after: str | None, limit: int
    ) -> VersionsPage:
        """A message as it was published, then its versions, oldest first. `after`: the last page's
        `next`. Raises as `message` does."""
        principal.require("history", channel)
        app, number = principal.app_id, self._parsed(serial)
        behind = self._parsed(after) if after else 0

        def ask(view: View) -> VersionsPage:
            record = self._published(view, app, channel, number)
            room = limit if behind else limit - 1  # the first page begins with the message itself
            found = versions(view, app, channel, number, behind, room)
            shown = [] if behind else [stored(record, self._series)]
            shown += [stored(record, self._series, state) for state in found.states]
            last = _last(record, found.states, behind)
            return VersionsPage(tuple(shown), render(last, self._series) if found.more else None)

        with mapped():
            return await self._log.query(ask)

    def _published(self, view: View, app: str, channel: str, serial: int) -> Record:
        record = published_at(view, app, channel, serial)
        if record is None:
            raise NotFound("there is no message of this serial")
        return record

    def _parsed(self, serial: str) -> int:
        try:
            return parse(serial, self._series)
        except BadRequest:
            raise NotFound("there is no message of this serial") from None


def cost_of(command: ChangeMessage) -> int:
    """Bytes, about, for the bounds of what waits."""
    return 256 + len(command.change.data or "")


def _last(record: Record, states: tuple[State, ...], behind: int) -> int:
    return states[-1].version if states else behind or record.serial


def _require(principal: Principal, channel: str, action: int, original: Message) -> None:
    """`-any` is for everybody's messages, `-own` for those of the same identified client."""
    verb = "delete" if action == DELETE else "update"
    permits = principal.capability.permits
    if permits(f"message-{verb}-any", channel):
        return
    if not permits(f"message-{verb}-own", channel):
        principal.require(f"message-{verb}-any", channel)
    client_id = None if principal.client_id == WILDCARD else principal.client_id
    if client_id is None:
        raise Unauthorized(
            f"only who is identified may {verb} its own messages", UNIDENTIFIED_OWNER
        )
    if original.client_id != client_id:
        raise Unauthorized(f"the credentials permit to {verb} own messages only", NOT_PERMITTED)


def _signed(principal: Principal, operation: Operation | None) -> Operation | None:
    """An operation with who does it. Raises BadRequest 40012 for somebody else."""
    given = operation or Operation()
    check_unicode(given.description or "", "description", INVALID_VALUE)
    check_encodable(given.metadata or {})
    signed = msgspec.structs.replace(given, client_id=principal.identify(given.client_id))
    return None if signed == Operation() else signed
