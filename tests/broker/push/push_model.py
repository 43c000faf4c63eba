"""Devices and subscriptions as plain dicts: what the registry must hold after any history.

It shares no code with broker but the names of things.
"""

from dataclasses import dataclass, field, replace
from typing import Any

Of = tuple[str, str]
"""("device" or "client", its id)"""


@dataclass(frozen=True)
class Known:
    """A device. `address`, `secret`: as they were given, not sealed. `found_by`: the text of its
    address, where others with the same are looked for."""

    address: str
    secret: str | None = None
    client: str | None = None
    metadata: Any = None
    rev: int = 1
    created_ms: int = 0
    state: str = "ACTIVE"
    failures: int = 0
    api: str = "ably"
    found_by: str = ""


@dataclass
class AppModel:
    """`topics`: by device and space, whether each that is known is on."""

    devices: dict[str, Known] = field(default_factory=dict)
    subscribed: set[tuple[str, Of]] = field(default_factory=set)
    topics: dict[tuple[str, str], dict[str, bool]] = field(default_factory=dict)

    def register(self, id_: str, known: Known, created_ms: int) -> None:
        before = self.devices.get(id_)
        rev, made = (before.rev + 1, before.created_ms) if before else (1, created_ms)
        self.devices[id_] = replace(known, rev=rev, created_ms=made)

    def patch(self, id_: str, **changes: Any) -> bool:
        """Whether the device is there."""
        before = self.devices.get(id_)
        if before is None:
            return False
        if "address" in changes:
            changes |= {"rev": before.rev + 1, "state": "ACTIVE", "failures": 0}
        self.devices[id_] = replace(before, **changes)
        return True

    def report(self, id_: str, rev: int, state: str, failures: int) -> bool:
        """Whether that is news."""
        before = self.devices.get(id_)
        if (
            before is None
            or before.rev != rev
            or (before.state, before.failures)
            == (
                state,
                failures,
            )
        ):
            return False
        self.devices[id_] = replace(before, state=state, failures=failures)
        return True

    def subscribe(self, channel: str, of: Of) -> bool:
        """Whether it may."""
        if of[0] == "device" and of[1] not in self.devices:
            return False
        self.subscribed.add((channel, of))
        return True

    def unsubscribe(self, of: Of, channel: str | None) -> None:
        self.subscribed = {
            (name, whose)
            for name, whose in self.subscribed
            if whose != of or channel not in (None, name)
        }

    def remove(
        self, device: str | None = None, client: str | None = None, api: str = "ably"
    ) -> None:
        for id_, known in list(self.devices.items()):
            if device in (None, id_) and client in (None, known.client) and known.api == api:
                del self.devices[id_]
                self.unsubscribe(("device", id_), None)
                self.topics = {of: names for of, names in self.topics.items() if of[0] != id_}

    def holders(self, text: str, api: str) -> set[str]:
        """Who has this address."""
        return {
            id_ for id_, known in self.devices.items() if (known.found_by, known.api) == (text, api)
        }

    def bind(self, id_: str, user: str, limit: int) -> bool:
        """Whether it may."""
        known = self.devices.get(id_)
        if known is None or known.client not in (None, user):
            return False
        others = [
            one for one in self.devices.values() if (one.client, one.api) == (user, known.api)
        ]
        if known.client is None and len(others) >= limit:
            return False
        self.devices[id_] = replace(known, client=user)
        return True

    def turn(self, id_: str, space: str, names: dict[str, bool | None]) -> bool:
        """Topics on, off, or away (None). Whether it may."""
        if id_ not in self.devices:
            return False
        known = {**self.topics.get((id_, space), {}), **names}
        left = {name: bool(is_on) for name, is_on in known.items() if is_on is not None}
        self.topics[id_, space] = left
        return True

    def told(self, topics: tuple[str, ...], space: str, api: str) -> list[str]:
        """Who is to be told of what is pushed to topics."""
        return sorted(
            id_
            for (id_, of), names in self.topics.items()
            if of == space and self.devices[id_].api == api and any(names.get(t) for t in topics)
        )

    def channels(self) -> list[str]:
        return sorted({channel for channel, _ in self.subscribed})

    def of_client(self, client: str) -> set[str]:
        return {id_ for id_, known in self.devices.items() if known.client == client}

    def reached(self, channel: str) -> list[str]:
        """Who is to be told of what is pushed to a channel."""
        found: set[str] = set()
        for name, (kind, id_) in self.subscribed:
            if name == channel:
                found |= {id_} if kind == "device" else self.of_client(id_)
        return sorted(id_ for id_ in found if self.devices[id_].api != "beams")

    def rows(self) -> int:
        """How many there should be."""
        owned = sum(known.client is not None for known in self.devices.values())
        found = sum(known.found_by != "" for known in self.devices.values())
        topics = sum(
            bool(names) + len(names) + sum(names.values()) for names in self.topics.values()
        )
        of_devices = len(self.devices) + owned + found + topics
        return of_devices + 2 * len(self.subscribed) + len(self.channels())
