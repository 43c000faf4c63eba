"""A channel as an embedding program uses it: publish, history, subscribe, with every permission."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from broker.apps import ROOT_CAPABILITY
from broker.auth import capability
from broker.auth.credentials import IN_PROCESS, Principal
from broker.errors import BadRequest
from broker.events import Operation
from broker.interactions.change import Change
from broker.interactions.state import APPEND, DELETE, UPDATE
from broker.live.hub import ChannelKey
from broker.live.subscription import Subscription
from broker.messages.history import LIMIT_DEFAULT, Direction, HistoryPage, HistoryQuery
from broker.messages.message import Message

if TYPE_CHECKING:
    from broker.broker import Broker
    from broker.publisher import Published

_EVERYTHING = capability.parse(ROOT_CAPABILITY)


class Channel:
    """Made by `Broker.channel`. Holds no state of its own."""

    def __init__(self, broker: "Broker", app: str, name: str) -> None:
        self.name = name
        self.app = app
        self._broker = broker
        self._principal = Principal(app_id=app, key_name=IN_PROCESS, capability=_EVERYTHING)

    async def publish(
        self,
        name: str | None = None,
        data: Any = None,
        *,
        id: str | None = None,  # noqa: A002 - the protocol's name
        client_id: str | None = None,
        extras: dict[str, Any] | None = None,
    ) -> "Published":
        """Publish one message; returns once it is on disk. Objects and arrays are sent as JSON.

        With `id` it may be retried: a repeat publishes nothing and returns the first serial.
        """
        message = Message(id=id, name=name, data=data, client_id=client_id, extras=extras)
        return await self.publish_all([message])

    async def publish_all(self, messages: Sequence[Message]) -> "Published":
        """Publish several messages, all or none. Ids must be `<base>:<index>`, or absent."""
        return await self._broker.publish(self._principal, self.name, messages)

    async def update(
        self, serial: str, *, name: str | None = None, data: Any = None, description: str = ""
    ) -> str:
        """Change a message; what is not given stays. Returns the serial of the new version. Raises
        BadRequest 93002 unless the namespace says that its messages can change."""
        return await self._change(serial, UPDATE, Message(name=name, data=data), description)

    async def append(self, serial: str, data: str | bytes, *, description: str = "") -> str:
        """Put more behind a message's data. As `update`."""
        return await self._change(serial, APPEND, Message(data=data), description)

    async def delete(self, serial: str, *, data: Any = None, description: str = "") -> str:
        """Mark a message as deleted; its data stays unless other data is given. As `update`."""
        return await self._change(serial, DELETE, Message(data=data), description)

    async def _change(self, serial: str, action: int, message: Message, description: str) -> str:
        operation = Operation(description=description) if description else None
        change = Change(serial, action, message, operation)
        return await self._broker.editor.change(self._principal, self.name, change)

    async def history(
        self,
        *,
        limit: int = LIMIT_DEFAULT,
        direction: Direction = "backwards",
        start: int = 0,
        end: int | None = None,
    ) -> HistoryPage:
        """A page of messages; `page.next` is what `history_page` takes for the one behind it.

        start, end: milliseconds since the epoch, inclusive.
        """
        query = HistoryQuery(start=start, end=end, direction=direction, limit=limit)
        return await self.history_page(query)

    async def history_page(self, query: HistoryQuery) -> HistoryPage:
        return await self._broker.read_history(self.app, self.name, query)

    @asynccontextmanager
    async def subscribe(self, *, rewind: int = 0) -> AsyncIterator[Subscription]:
        """Messages published from now on, the last `rewind` ones first, as an async iterator.

        A subscriber that falls behind reads from disk until it has caught up; it misses nothing.
        """
        settings = self._broker.settings
        if not 0 <= rewind <= settings.rewind_messages_max:
            raise BadRequest(f"rewind must be between 0 and {settings.rewind_messages_max}")
        hub, key = self._broker.epoch.hub, ChannelKey(self.app, self.name)
        bound = settings.subscription_messages_max
        subscription = Subscription(self._broker.log, key, bound, self._broker.series)
        hub.add(key, subscription)
        try:
            if rewind:
                await subscription.rewind(rewind)
            yield subscription
        finally:
            hub.remove(key, subscription)
            subscription.close()
