"""Channels, members, attachments and connections as plain dicts: what the projections must hold
after any history.

It shares no code with broker but the names of things. Serials are the log's own; everything else
is worked out here, from the commands alone.
"""

from collections import Counter
from dataclasses import dataclass, field

Place = tuple[str, int]
"""(connection, msgSerial)"""
Who = tuple[str, str]
"""(connection, client)"""
Said = tuple[str, Who, str | None]
"""(action, member, data)"""


@dataclass
class Held:
    """A connection that may be resumed."""

    key: bytes
    epoch: int
    before: bytes = b""
    lost: bool = False


@dataclass
class Model:
    epoch: int = 0
    existing: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    members: dict[str, dict[Who, tuple[str | None, tuple[int, int]]]] = field(default_factory=dict)
    attached: dict[tuple[str, int], list[tuple[str, int]]] = field(default_factory=dict)
    connections: dict[str, Held] = field(default_factory=dict)
    accepted: dict[Place, tuple[str, int, int]] = field(default_factory=dict)
    ids: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    def opened(self, channel: str) -> int:
        """How many events that adds."""
        added = (channel not in self.existing) + (channel not in self.active)
        self.existing.add(channel)
        self.active.add(channel)
        return added

    def accept(self, place: Place, channel: str, kind: int, serial: int) -> None:
        self.accepted[place] = channel, kind, serial

    def change(self, channel: str, msg_serial: int, changes: list[Said]) -> list[str | None]:
        """Returns the data of each leave that comes to an event, "" for other events. A member that
        says again what it said before, under that msgSerial, changes nothing."""
        members = self.members.setdefault(channel, {})
        told: list[str | None] = []
        for index, (action, who, data) in enumerate(changes):
            if action == "leave":
                if who in members:
                    last, _ = members.pop(who)
                    told.append(last if data is None else data)
            elif who not in members or (msg_serial, index) > members[who][1]:
                members[who] = data, (msg_serial, index)
                told.append("")
        return told

    def leave(self, connection: str, channel: str | None) -> int:
        """How many left."""
        left = 0
        for name, members in self.members.items():
            if channel in (None, name):
                gone = [who for who in members if who[0] == connection]
                left += len(gone)
                for who in gone:
                    del members[who]
        return left

    def attach(self, channel: str, connection: str, modes: int) -> None:
        key = channel, self.epoch
        if not self.attached.get(key):
            for old in [k for k in self.attached if k[0] == channel and k[1] < self.epoch]:
                del self.attached[old]
        self.attached.setdefault(key, []).append((connection, modes))

    def detach(self, channel: str, epoch: int, connection: str, modes: int) -> bool:
        there = self.attached.get((channel, epoch), [])
        if not there:
            return False
        there.remove((connection, modes))
        if not there:
            del self.attached[channel, epoch]
        return True

    def may_close(self, channel: str) -> bool:
        used = self.attached.get((channel, self.epoch)) or self.members.get(channel)
        return channel in self.active and not used

    def resume(self, id_: str, given: bytes, key: bytes, *, previous_allowed: bool) -> bool:
        held = self.connections.get(id_)
        if held is None:
            return False
        if given != held.key and not (previous_allowed and given == held.before):
            return False
        self.connections[id_] = Held(key, self.epoch, held.key)
        return True

    def lose(self, id_: str, epoch: int) -> bool:
        held = self.connections.get(id_)
        if held is None or held.lost or held.epoch != epoch:
            return False
        held.lost = True
        return True

    def expire(self, id_: str) -> bool:
        held = self.connections.get(id_)
        if held is None or (held.epoch == self.epoch and not held.lost):
            return False
        del self.connections[id_]
        return True

    def trimmed(self, channel: str, kind: int, serial: int) -> None:
        """Every record of that stream at or below `serial` went."""
        for place, (its_channel, its_kind, its_serial) in list(self.accepted.items()):
            if (its_channel, its_kind) == (channel, kind) and its_serial <= serial:
                del self.accepted[place]
        for id_, (its_kind, its_serial) in list(self.ids.items()):
            if (id_[0], its_kind) == (channel, kind) and its_serial <= serial:
                del self.ids[id_]

    def occupancy(self, channel: str, epoch: int, names: dict[int, str]) -> Counter[str]:
        counts: Counter[str] = Counter()
        for _, modes in self.attached.get((channel, epoch), []):
            counts["connections"] += 1
            counts.update(name for mode, name in names.items() if modes & mode)
        if self.members.get(channel):
            counts["presence_members"] = len(self.members[channel])
        return counts
