"""Messages as differences from the one before (RTL18-RTL20, `params.delta`; reference 3.9).

A delta is against what its receiver holds: the payload of the last message that it was given on the
channel, whatever that was. Who holds the same is sent the same: equal bases are one key, so a batch
is encoded once for all of them. Where frames differ all the same (another format, another filter,
pages that everyone reads alone), the delta in them is still made once, while few others are made
meanwhile.

After anything that may not have arrived, and after a message without data, there is no base: the
next message goes whole. An empty payload is no base either: ably-python takes it for none.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from broker.messages.payload_encoding import binary_payload, text_payload
from broker.messages.vcdiff import Source
from broker.messages.wire import ACTION_APPEND

PARAMETER, FORMAT = "delta", "vcdiff"
DELTAS_KEPT = 128  # with the payloads they are made of
Item = dict[str, Any]


class Base:
    """A payload that its receivers hold. Equal by message and content."""

    __slots__ = ("_hash", "_source", "id", "payload")

    def __init__(self, id_: str, payload: bytes) -> None:
        self.id = id_
        self.payload = payload
        self._hash = hash((id_, payload))
        self._source: Source | None = None

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Base) and (other is self or other._key == self._key)

    @property
    def _key(self) -> tuple[str, bytes]:
        return self.id, self.payload

    def delta(self, payload: bytes) -> bytes:
        if self._source is None:
            self._source = Source(self.payload)
        return self._source.encode(payload)


class Encoded(NamedTuple):
    """What became of messages, and what their receivers hold then."""

    items: list[Item]
    base: Base | None


def as_deltas(items: list[Item], base: Base | None, *, binary: bool) -> Encoded:
    """Messages in their wire form, each as a delta from the one before where there is one."""
    told = []
    for item in items:
        given = _payload(item)
        held = None if given is None else Base(item["id"], given[0])
        if base and given and held and item["action"] != ACTION_APPEND:
            item = _as_delta(item, base, held, given[1], binary=binary)
        told.append(item)
        base = held if held and held.payload else None
    return Encoded(told, base)


@lru_cache(maxsize=DELTAS_KEPT)
def _delta(base: Base, held: Base) -> bytes:
    return base.delta(held.payload)


def _payload(item: Item) -> tuple[bytes, list[str]] | None:
    """The bytes that an SDK keeps, and how what they stand for was encoded; None without data."""
    if "data" not in item:
        return None
    data, encoding = binary_payload(item["data"], item.get("encoding"))
    steps = [encoding] if encoding else []
    if isinstance(data, str):
        return data.encode(), [*steps, "utf-8"]
    return data or b"", steps


def _as_delta(item: Item, base: Base, held: Base, steps: list[str], *, binary: bool) -> Item:
    delta, encoding = _delta(base, held), "/".join([*steps, FORMAT])
    data, written = (delta, encoding) if binary else text_payload(delta, encoding)
    extras = {**item.get("extras", {}), PARAMETER: {"from": base.id, "format": FORMAT}}
    return {**item, "data": data, "encoding": written, "extras": extras}
