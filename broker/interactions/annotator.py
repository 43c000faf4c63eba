"""Annotating messages as callers do it, and asking for the annotations of one."""

from typing import Any

import msgspec

from broker import randomness
from broker.auth.credentials import Principal
from broker.errors import BadRequest, NotFound
from broker.event import Kind
from broker.events import Annotation, MessageAnnotated
from broker.interactions.annotating import AnnotateMessage
from broker.interactions.annotation import read_annotations
from broker.interactions.changing import NOT_MUTABLE
from broker.interactions.keys import ANNOTATION, SERIAL_BYTES, TABLE, of_message
from broker.interactions.versions import published_at
from broker.limits import limiter
from broker.live.epoch import Epoch
from broker.messages.publishing import Origin
from broker.messages.serials import parse, render
from broker.settings import BrokerSettings
from broker.storage_errors import mapped
from storage import Log, Stream, View
from storage.serial import ms_of

INVALID_VALUE = 40003


class StoredAnnotation(msgspec.Struct, frozen=True):
    """`timestamp`: ms."""

    annotation: Annotation
    serial: str
    timestamp: int


class AnnotationsPage(msgspec.Struct, frozen=True):
    """`next`: the serial behind which the next page begins, None when this was the last."""

    annotations: tuple[StoredAnnotation, ...]
    next: str | None


class Annotator:
    def __init__(self, log: Log, epoch: Epoch, settings: BrokerSettings, series: str) -> None:
        self._log = log
        self._epoch = epoch
        self._settings = settings
        self._series = series

    async def annotate(
        self, principal: Principal, channel: str, serial: str, items: Any
    ) -> tuple[str | None, ...]:
        """The serials of the annotations; None for one that only an unequal repeat had. Raises as
        `prepare`, and as the log decides (broker.interactions.annotating)."""
        command = self.prepare(principal, channel, items, serial)
        count, size = len(command.annotations), cost_of(command)
        asked = limiter.Publish(channel, count, size, may_be_known=command.keyed)
        admitted = self._epoch.rate_limits.admit(principal, command, asked)
        with mapped():
            outcome = await self._log.submit(admitted, app=command.app, cost=size)
        found = outcome.serials[: len(command.annotations)]
        return tuple(None if one is None else render(one, self._series) for one in found)

    def prepare(
        self,
        principal: Principal,
        channel: str,
        items: Any,
        serial: str | None = None,
        origin: Origin | None = None,
    ) -> AnnotateMessage:
        """The command for the annotations of one message: that of `serial`, or the one that each of
        them names. Raises Unauthorized 40160; BadRequest 93002, 40003 different messages, and as
        `read_annotations`; NotFound."""
        principal.require("annotation-publish", channel)
        if not self._epoch.rules.get(principal.app_id, channel).mutable_messages:
            raise BadRequest("messages of this channel cannot be annotated", NOT_MUTABLE)
        base = origin.base if origin else f"{randomness.new_id()}:0"
        connection = origin.connection if origin else None
        annotations, named = read_annotations(
            items, principal, connection, base, self._settings.message_bytes_max
        )
        of = {given for given in (serial, *named) if given is not None}
        if len(of) != 1:
            raise BadRequest("annotations of one request are of one message", INVALID_VALUE)
        return AnnotateMessage(
            principal.app_id,
            channel,
            self._parsed(of.pop()),
            tuple(annotations),
            keyed=not annotations[0].id.startswith(f"{base}:"),
            sent=(origin.connection, origin.msg_serial) if origin else None,
            resent=bool(origin and origin.resent),
        )

    async def annotations(
        self, principal: Principal, channel: str, serial: str, *, after: str | None, limit: int
    ) -> AnnotationsPage:
        """Annotations of a message, made and taken back, oldest first. `after`: the last page's
        `next`. Raises Unauthorized 40160, NotFound."""
        if not principal.capability.permits("annotation-subscribe", channel):
            principal.require("history", channel)
        app, of = principal.app_id, self._parsed(serial)
        behind = self._parsed(after) if after else 0

        def ask(view: View) -> AnnotationsPage:
            if published_at(view, app, channel, of) is None:
                raise NotFound("there is no message of this serial")
            return self._page(view, Stream(app, channel, Kind.ANNOTATIONS), of, behind, limit)

        with mapped():
            return await self._log.query(ask)

    def _page(
        self, view: View, stream: Stream, of: int, behind: int, limit: int
    ) -> AnnotationsPage:
        beginning = of_message(ANNOTATION, stream.app, stream.channel, of)
        found: list[StoredAnnotation] = []
        for key, _ in view.scan(TABLE, beginning, beginning + behind.to_bytes(SERIAL_BYTES, "big")):
            if len(found) == limit:
                return AnnotationsPage(tuple(found), found[-1].serial)
            record = view.record(stream, int.from_bytes(key[-SERIAL_BYTES:], "big"))
            if record is not None and isinstance(record.event, MessageAnnotated):
                serial = render(record.serial, self._series)
                found.append(
                    StoredAnnotation(record.event.annotation, serial, ms_of(record.serial))
                )
        return AnnotationsPage(tuple(found), None)

    def _parsed(self, serial: str) -> int:
        try:
            return parse(serial, self._series)
        except BadRequest:
            raise NotFound("there is no message of this serial") from None


def cost_of(command: AnnotateMessage) -> int:
    """Bytes, about, for the bounds of what waits."""
    return sum(256 + len(one.data or "") for one in command.annotations)
