"""Subscribing devices to topics beside Ably's channels: commands, and what they come to.

Topics need no namespace to be push-enabled, and are not made or removed: one is there while
somebody is subscribed. Who may do it, and whether the names make sense, was judged before; a name
that is too long for a row is refused here.
"""

from collections.abc import Iterable
from itertools import islice

import msgspec

from broker.errors import BadRequest, NotFound
from broker.push import registry, topic_rows
from broker.push.events import TopicsChanged
from broker.push.registry import stream_of
from broker.push.rows import TOPIC_BYTES_MAX
from broker.push.topic_rows import Topic
from broker.storage_errors import mapped
from storage import Decision, Log, Rows, View
from storage.projection import Decide


class SetTopics(msgspec.Struct, frozen=True):
    """From now on a device has these topics of a space, and no others."""

    app: str
    device: str
    space: str
    names: tuple[str, ...]
    limit: int


class ChangeTopics(msgspec.Struct, frozen=True):
    """Some of a device's topics; the others stay as they are."""

    app: str
    device: str
    space: str
    on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    limit: int | None = None


class TooManyTopics(BadRequest):
    """A device has as many topics as it may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a device may have {limit} of them")


def replace(rows: Rows, command: SetTopics, ms: int) -> Decision:
    _require_device(rows, command.app, command.device)
    _require_short(command.names)
    if len(set(command.names)) > command.limit:
        raise TooManyTopics(command.limit)
    before = {
        topic.name: topic.is_on
        for topic in topic_rows.topics(rows, command.app, command.device, command.space)
    }
    on = tuple(sorted(name for name in set(command.names) if not before.get(name)))
    gone = tuple(sorted(before.keys() - set(command.names)))
    return _changed(command.app, TopicsChanged(command.device, command.space, on, (), gone))


def change(rows: Rows, command: ChangeTopics, ms: int) -> Decision:
    app, device, space = command.app, command.device, command.space
    _require_device(rows, app, device)
    _require_short((*command.on, *command.off))
    known = {
        name: topic_rows.topic(rows, app, device, space, name)
        for name in (*command.on, *command.off, *command.gone)
    }
    on = tuple(name for name in command.on if not ((was := known[name]) and was.is_on))
    off = tuple(name for name in command.off if (was := known[name]) is None or was.is_on)
    gone = tuple(name for name in command.gone if known[name] is not None)
    new = sum(known[name] is None for name in (*on, *off))
    limit, left = command.limit, topic_rows.count(rows, app, device, space) - len(gone)
    if new and limit is not None and left + new > limit:
        raise TooManyTopics(limit)
    return _changed(app, TopicsChanged(device, space, on, off, gone))


def _changed(app: str, event: TopicsChanged) -> Decision:
    if not (event.on or event.off or event.gone):
        return Decision()
    return Decision([(stream_of(app), event)])


def _require_device(rows: Rows, app: str, device: str) -> None:
    if registry.device(rows, app, device) is None:
        raise NotFound("there is no such device")


def _require_short(names: Iterable[str]) -> None:
    if any(len(name.encode()) > TOPIC_BYTES_MAX for name in names):
        raise BadRequest(f"a topic's name has at most {TOPIC_BYTES_MAX} bytes")


class Topics:
    """The topics of devices, for callers."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def replace(
        self, app: str, device: str, space: str, names: Iterable[str], limit: int
    ) -> None:
        """A device's topics of a space, whole. Raises NotFound, TooManyTopics."""
        await self._run(SetTopics(app, device, space, tuple(names), limit))

    async def change(
        self,
        app: str,
        device: str,
        space: str,
        *,
        on: Iterable[str] = (),
        off: Iterable[str] = (),
        gone: Iterable[str] = (),
        limit: int | None = None,
    ) -> None:
        """Some of a device's topics, each named once. Raises NotFound, TooManyTopics."""
        command = ChangeTopics(app, device, space, tuple(on), tuple(off), tuple(gone), limit)
        await self._run(command)

    async def page(
        self, app: str, device: str, space: str, *, after: str = "", limit: int
    ) -> list[Topic]:
        """The first topics of a device behind a name, in the order of names."""

        def ask(view: View) -> list[Topic]:
            return list(islice(topic_rows.topics(view, app, device, space, after), limit))

        with mapped():
            return await self._log.query(ask)

    async def _run(self, command: SetTopics | ChangeTopics) -> None:
        cost = sum(map(len, command.names)) if isinstance(command, SetTopics) else 256
        with mapped():
            await self._log.submit(command, app=command.app, cost=256 + cost)


DECIDE: dict[type, Decide] = {
    SetTopics: replace,
    ChangeTopics: change,
}
