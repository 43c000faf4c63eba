"""A broker with a namespace whose messages can change, and short words for what is done to them.

`m:*` can change, everything else cannot. `Editing` speaks with every permission, `by` with others.
"""

from dataclasses import dataclass, field
from typing import Any

from broker import Broker, Message
from broker.auth import capability
from broker.auth.credentials import Principal
from broker.events import Operation
from broker.interactions.annotator import AnnotationsPage
from broker.interactions.change import Change
from broker.interactions.editor import VersionsPage
from broker.interactions.state import APPEND, DELETE, UPDATE
from broker.messages.message import StoredMessage
from broker.messages.publishing import Origin
from broker.messages.serials import parse
from broker.tenancy import NamespaceRules
from storage import Outcome

CHANNEL = "m:c"
EVERYTHING = '{"*":["*"]}'
MUTABLE = NamespaceRules(mutable_messages=True)


@dataclass
class Editing:
    broker: Broker
    channel: str = CHANNEL
    principal: Principal = field(init=False)

    def __post_init__(self) -> None:
        self.principal = self.by()

    @property
    def app(self) -> str:
        return self.broker.default_app()

    async def prepare(self, rules: NamespaceRules = MUTABLE, namespace: str = "m") -> "Editing":
        await self.broker.apps.set_namespace(self.app, namespace, rules)
        return self

    def by(self, client_id: str | None = None, permits: str = EVERYTHING) -> Principal:
        return Principal(
            app_id=self.app,
            key_name="key",
            capability=capability.parse(permits),
            client_id=client_id,
        )

    def may(self, *operations: str, client_id: str | None = None) -> Principal:
        listed = ",".join(f'"{operation}"' for operation in operations)
        return self.by(client_id, f'{{"*":[{listed}]}}')

    def number(self, serial: str) -> int:
        return parse(serial, self.broker.series)

    async def publish(self, data: Any = "", **fields: Any) -> str:
        message = Message(data=data, **fields)
        published = await self.broker.publish(self.principal, self.channel, [message])
        assert published.serials[0] is not None
        return published.serials[0]

    async def change(
        self,
        serial: str,
        action: int,
        *,
        by: Principal | None = None,
        operation: Operation | None = None,
        **fields: Any,
    ) -> str:
        change = Change(serial, action, Message(**fields), operation)
        return await self.broker.editor.change(by or self.principal, self.channel, change)

    async def update(self, serial: str, data: Any = None, **fields: Any) -> str:
        return await self.change(serial, UPDATE, data=data, **fields)

    async def delete(self, serial: str, **fields: Any) -> str:
        return await self.change(serial, DELETE, **fields)

    async def append(self, serial: str, data: Any = None, **fields: Any) -> str:
        return await self.change(serial, APPEND, data=data, **fields)

    async def over(self, origin: Origin, serial: str, action: int, data: Any) -> Outcome:
        """A change as a connection sends it."""
        change = Change(serial, action, Message(data=data))
        command = self.broker.editor.prepare(self.principal, self.channel, change, origin)
        return await self.broker.submit(command, app=self.app)

    async def annotate(
        self, serial: str, *items: dict[str, Any], by: Principal | None = None
    ) -> tuple[str | None, ...]:
        return await self.broker.annotator.annotate(
            by or self.principal, self.channel, serial, list(items)
        )

    async def annotations(
        self, serial: str, *, after: str | None = None, limit: int = 1_000
    ) -> AnnotationsPage:
        return await self.broker.annotator.annotations(
            self.principal, self.channel, serial, after=after, limit=limit
        )

    async def get(self, serial: str) -> StoredMessage:
        return await self.broker.editor.message(self.principal, self.channel, serial)

    async def page(
        self, serial: str, *, after: str | None = None, limit: int = 1_000
    ) -> VersionsPage:
        return await self.broker.editor.versions(
            self.principal, self.channel, serial, after=after, limit=limit
        )

    async def versions(self, serial: str, limit: int = 1_000) -> list[tuple[int, Any]]:
        """(action, data) of all of them, by pages of that size."""
        found: list[tuple[int, Any]] = []
        after: str | None = None
        while True:
            page = await self.page(serial, after=after, limit=limit)
            assert len(page.messages) <= limit
            found += [(message.action, message.data) for message in page.messages]
            after = page.next
            if after is None:
                return found

    async def history(self) -> list[tuple[int, Any]]:
        """Oldest first."""
        page = await self.broker.channel(self.channel).history(direction="forwards")
        return [(message.action, message.data) for message in page.messages]


def reaction(name: str | None, action: int = 0, method: str = "distinct.v1", **more: Any) -> Any:
    named = {} if name is None else {"name": name}
    return {"action": action, "type": f"reaction:{method}", **named, **more}
