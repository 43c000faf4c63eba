"""Publishing as callers do it: judged, made a command, appended; its outcome in the wire's terms.

Two ways lead here: a call that waits for the disk (REST, in process), and a connection, which hands
over commands by the read and is told of each. What a publish comes to is decided in the log's
transaction (broker.messages.publishing).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from broker import randomness
from broker.auth.credentials import Principal
from broker.errors import BadRequest, BrokerError
from broker.limits import limiter
from broker.live.epoch import Epoch
from broker.messages.message import Message
from broker.messages.publish import (
    INVALID_CLIENT_ID,
    INVALID_CONNECTION_KEY,
    Checked,
    Permit,
    PublishLimits,
    permit,
    validate,
)
from broker.messages.publishing import Origin, Publish, as_command
from broker.messages.serials import render
from broker.metrics import Metrics
from broker.settings import BrokerSettings
from broker.storage_errors import as_result, mapped
from storage import Log, Outcome


class Published(msgspec.Struct, frozen=True):
    """What became of a publish (reference 1.7.1). message_id: base of the messages' ids; serials:
    one per message, None for one that only an unequal repeat carried."""

    channel: str
    message_id: str
    serials: tuple[str | None, ...]
    duplicate: bool = False


class _Judged(NamedTuple):
    """A publish that may be tried. `admitted`: its command, as far as limits let it."""

    command: Publish
    base: str
    admitted: Any


class Publisher:
    """Of one broker. `epoch`: whose connections may be spoken for, and the channels' rules."""

    def __init__(
        self, log: Log, epoch: Epoch, settings: BrokerSettings, metrics: Metrics, series: str
    ) -> None:
        self._log = log
        self._epoch = epoch
        self._metrics = metrics
        self._series = series
        self._limits = PublishLimits(
            message_bytes=settings.message_bytes_max, messages=settings.publish_messages_max
        )

    async def publish(
        self, principal: Principal, channel: str, messages: Sequence[Message]
    ) -> Published:
        """Publish messages, all or none. Raises as `validate` says, Overloaded, Unavailable."""
        checked = self.check(permit(principal, channel), messages)
        command, base = _command(principal.app_id, channel, checked)
        return await self._append(_Judged(command, base, self._admitted(principal, command)))

    async def append(self, app: str, channel: str, checked: Checked) -> Published:
        """Append the validated messages of one publish, whatever the limits of rates."""
        command, base = _command(app, channel, checked)
        return await self._append(_Judged(command, base, command))

    async def _append(self, judged: _Judged) -> Published:
        command = judged.command
        with mapped():
            outcome = await self._log.submit(
                judged.admitted, app=command.app, cost=command.size_bytes
            )
        return self._published(command, judged.base, outcome)

    def _admitted(self, principal: Principal, command: Publish) -> Any:
        """The command to append: it may come to less when there are too many (broker.limits)."""
        if not self._epoch.rate_limits.is_on:
            return command
        asked = limiter.Publish(
            command.channel,
            len(command.messages),
            command.size_bytes,
            may_be_known=command.keyed,
        )
        return self._epoch.rate_limits.admit(principal, command, asked)

    async def publish_each(
        self, principal: Principal, publishes: Sequence[tuple[str, Sequence[Message]]]
    ) -> list[Published | BrokerError]:
        """Publishes in one commit, each on its own: what became of each, in their order. Raises
        Overloaded or Unavailable; then none was taken."""
        judged = [self._judged(principal, *publish) for publish in publishes]
        admitted = [item.admitted for item in judged if not isinstance(item, BrokerError)]
        cost = sum(item.command.size_bytes for item in judged if not isinstance(item, BrokerError))
        with mapped():
            results = await self._log.submit_all(admitted, app=principal.app_id, cost=cost)
        outcomes = iter(results)
        return [
            item if isinstance(item, BrokerError) else self._result(item, next(outcomes))
            for item in judged
        ]

    def _judged(
        self, principal: Principal, channel: str, messages: Sequence[Message]
    ) -> _Judged | BrokerError:
        try:
            checked = self.check(permit(principal, channel), messages)
            command, base = _command(principal.app_id, channel, checked)
            return _Judged(command, base, self._admitted(principal, command))
        except BrokerError as error:
            return error

    def _result(self, judged: _Judged, result: Outcome | Exception) -> Published | BrokerError:
        outcome = as_result(result)
        if isinstance(outcome, BrokerError):
            return outcome
        return self._published(judged.command, judged.base, outcome)

    def _published(self, command: Publish, base: str, outcome: Outcome) -> Published:
        count = len(command.messages)
        self._metrics.published(count, command.size_bytes, outcome)
        serials = tuple(
            None if serial is None else render(serial, self._series)
            for serial in outcome.serials[:count]
        )
        return Published(command.channel, base, serials, outcome.duplicate)

    def check(self, permitted: Permit, messages: Sequence[Message]) -> Checked:
        """The messages of a publish as they are to be stored. Raises as `validate` says."""
        principal = permitted.principal
        rules = self._epoch.rules.get(principal.app_id, permitted.channel)
        return validate(
            [self._on_behalf(principal, message) for message in messages],
            permitted,
            limits=self._limits,
            identified=rules.identified,
            mutable=rules.mutable_messages,
        )

    def prepare(self, permitted: Permit, messages: Sequence[Message], origin: Origin) -> Publish:
        """The command that publishes what a connection sent. Raises as `validate` says."""
        checked = self.check(permitted, messages)
        app = permitted.principal.app_id
        return as_command(app, permitted.channel, checked, origin.base, origin)

    def enqueue(
        self,
        app: str,
        commands: Sequence[Any],
        done: Callable[[list[Outcome | BrokerError]], None],
        *,
        cost: int,
    ) -> None:
        """Hand commands to the log, in order; `done` gets what became of each, once on disk.
        Raises Overloaded or Unavailable; then nothing was taken."""

        def finished(results: list[Outcome | Exception]) -> None:
            done([as_result(result) for result in results])

        with mapped():
            self._log.enqueue(commands, finished, app=app, cost=cost)

    def _on_behalf(self, principal: Principal, message: Message) -> Message:
        """The message with the connection that its connectionKey names (RSL1j, TM2h)."""
        if message.connection_key is None:
            return message
        held = self._epoch.connections.find(principal.app_id, message.connection_key)
        if held is None:
            raise BadRequest(
                "connectionKey does not name a live connection", INVALID_CONNECTION_KEY
            )
        if held.client_id not in (None, message.client_id or held.client_id):
            raise BadRequest("clientId is not that of the connection", INVALID_CLIENT_ID)
        return msgspec.structs.replace(
            message,
            connection_key=None,
            connection_id=held.id,
            client_id=message.client_id or held.client_id,
        )


def _command(app: str, channel: str, checked: Checked) -> tuple[Publish, str]:
    """What publishes validated messages, and the base of their ids."""
    base = _base_id(checked.messages) or f"{randomness.new_id()}:0"
    return as_command(app, channel, checked, base), base


def _base_id(messages: Sequence[Message]) -> str:
    """What chosen ids of a publish have in common: its messageId (RSL1k); "" without ids."""
    first = messages[0].id or ""
    return first if len(messages) == 1 else first.rpartition(":")[0]
