"""A JSON document that changes a little with every message, published and checked.

What subscribers received is checked byte by byte: a delta is decoded by `vcdiff-decoder`, which the
SDKs use too and which is none of ours, and only where that is installed. MARK stands in a header,
behind the payload: in a delta it would not stand at all.
"""

import base64
import random
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import msgspec

from bench.acknowledged import Wrong
from bench.realtime.frames import MESSAGE, payloads
from bench.realtime.tidelog import TidelogPublisher, TidelogWire
from bench.realtime.wires import MARK

CHANGED = 0.05  # of the fields, with each message
SAVING = {"delta": "vcdiff"}  # how a subscriber asks for deltas
_DECODER = "vcdiff_decoder"
_HEAD = '{"number":"'
_DIGITS = 12
_FIELD_BYTES = len('"field-0000":"","') - 1 + 24
_Item = dict[str, Any]


class _Frame(msgspec.Struct):
    action: int
    messages: list[_Item] = []


_read = msgspec.json.Decoder(_Frame).decode


def checks_deltas() -> bool:
    return find_spec(_DECODER) is not None


def decoder() -> Callable[[bytes, bytes], bytes]:
    """Of (base, delta)."""
    decode: Callable[[bytes, bytes], bytes] = import_module(_DECODER).decode
    return decode


def documents(size: int) -> Iterator[str]:
    """JSON objects of about `size` bytes, each the one before with some of its fields changed."""
    chance = random.Random(size)
    count = size // _FIELD_BYTES
    fields = [chance.randbytes(12).hex() for _ in range(count)]
    number = 0
    while True:
        written = ",".join(f'"field-{at:04}":"{value}"' for at, value in enumerate(fields))
        yield f'{_HEAD}{number:0{_DIGITS}}",{written}}}'
        number += 1
        for at in chance.sample(range(count), max(1, round(count * CHANGED))):
            fields[at] = chance.randbytes(12).hex()


class DocumentPublisher(TidelogPublisher):
    """`digests`: of what was published, by number. `headers`: of each message besides MARK."""

    def __init__(self, wire: TidelogWire, channel: str, size: int) -> None:
        super().__init__(wire, channel)
        self.digests: list[bytes] = []
        self.headers: dict[str, str] = {}
        self._documents = documents(size)

    def message(self, number: int, size: int) -> dict[str, object]:
        if number != len(self.digests):
            raise Wrong(f"document {number} is not the next one")
        written = next(self._documents)
        self.digests.append(_digest(written.encode()))
        headers = {**self.headers, "end": MARK.decode()}
        return {"name": "e", "data": written, "encoding": "json", "extras": {"headers": headers}}

    def number(self, data: str) -> int:
        return int(data[len(_HEAD) :][:_DIGITS])


class DocumentOrder:
    """An Order of documents: those of `numbers`, each whole or as a delta of the one before."""

    def __init__(self, publisher: DocumentPublisher, numbers: Iterable[int]) -> None:
        self.deltas = 0
        self._publisher = publisher
        self._numbers = iter(numbers)
        self._next = 0
        self._rest = b""
        self._base = b""
        self._id = ""
        self._decode = decoder() if checks_deltas() else None

    def feed(self, chunk: bytes) -> None:
        found, self._rest = payloads(self._rest + chunk)
        for frame in map(_read, found):
            if frame.action == MESSAGE:
                for item in frame.messages:
                    self._take(item)

    def _take(self, item: _Item) -> None:
        number = next(self._numbers)
        self._next = number + 1
        payload = self._payload(item, number)
        self._id = item["id"]
        if payload is None:
            return
        self._base = payload
        if _digest(payload) != self._publisher.digests[number]:
            raise Wrong(f"what a subscriber received is not document {number}")

    def _payload(self, item: _Item, number: int) -> bytes | None:
        """None for what cannot be checked."""
        given: bytes = item["data"].encode()
        if "delta" not in item["extras"]:
            return given
        self.deltas += 1
        if item["extras"]["delta"]["from"] != self._id:
            raise Wrong(f"document {number} is a delta of another than was received last")
        return self._decode(self._base, base64.b64decode(given)) if self._decode else None

    def check(self, count: int) -> None:
        if self._next != count:
            raise Wrong(f"a subscriber received documents up to {self._next}, not {count}")


def _digest(payload: bytes) -> bytes:
    return blake2b(payload, digest_size=16).digest()
