"""Messages that change, and their annotations, as plain lists: what a broker must answer after any
history.

It shares no code with broker. Serials are the log's own; everything else is worked out here, from
the commands alone.
"""

from dataclasses import dataclass, field
from typing import Any

CREATE, UPDATE, DELETE = 0, 1, 2
Version = tuple[int, str | None, str]
"""(action, name, data)"""


@dataclass
class Annotated:
    serial: str
    action: int
    type: str
    name: str | None
    client: str | None


@dataclass
class Kept:
    """A message. `grows`: its last version only appended so far."""

    serial: str
    client: str | None
    versions: list[Version]
    grows: bool = False
    annotations: list[Annotated] = field(default_factory=list)
    gone: bool = False

    @property
    def latest(self) -> Version:
        return self.versions[-1]

    def change(self, action: int, name: str | None, data: str | None) -> None:
        _, old_name, old_data = self.latest
        self.versions.append((action, name or old_name, old_data if data is None else data))
        self.grows = False

    def append(self, name: str | None, data: str) -> None:
        _, old_name, old_data = self.latest
        if self.grows:
            self.versions.pop()
        self.versions.append((UPDATE, name or old_name, old_data + data))
        self.grows = True

    def summary(self) -> dict[str, Any] | None:
        """Of `total.v1` and `distinct.v1`; None before the first that counts."""
        counted = [one for one in self.annotations if one.type != "unsummed"]
        if not counted:
            return None
        total, distinct = 0, dict[str, list[str]]()
        for one in counted:
            if one.type == "t:total.v1":
                total = max(0, total + (-1 if one.action else 1))
                continue
            clients = distinct.setdefault(one.name or "", [])
            if one.action and one.client in clients:
                clients.remove(one.client or "")
            elif not one.action and one.client not in clients:
                clients.append(one.client or "")
        shown = {
            name: {"total": len(clients), "clientIds": clients, "clipped": False}
            for name, clients in distinct.items()
            if clients
        }
        found: dict[str, Any] = {"t:total.v1": {"total": total}} if total else {}
        return {**found, **({"t:distinct.v1": shown} if shown else {})}


@dataclass
class Model:
    """Records of messages by channel, oldest first; what is redacted stays in its place."""

    channels: dict[str, list[Kept]] = field(default_factory=dict)

    def publish(self, channel: str, message: Kept) -> None:
        self.channels.setdefault(channel, []).append(message)

    def there(self, channel: str) -> list[Kept]:
        return [message for message in self.channels.get(channel, []) if not message.gone]

    def trim(self, channel: str, *, keep: int) -> None:
        records = self.channels.get(channel, [])
        self.channels[channel] = records[max(0, len(records) - keep) :]

    def redact(self, client: str) -> None:
        for records in self.channels.values():
            for message in records:
                message.gone = message.gone or message.client == client
