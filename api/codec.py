"""Request and response bodies: bytes to plain values and back, in JSON and MessagePack.

The first code that touches hostile bytes, so it is strict where leniency would be paid for later:
a bound on depth that holds before anything recurses, string keys only, valid Unicode only, plain
values only (no extension types, no NaN). Whatever is wrong is BadRequest 40001, never
another exception, whatever the bytes (tests/api/test_codec.py fuzzes that).

How depth is bounded. JSON: brackets are counted first, in C; only a body with more of them than the
bound is scanned for nesting, with its strings cut out. MessagePack: the decoder keeps its own stack
of fixed size and never recurses, so the decoded value is measured, level by level.

Refuses to do: bound the size of a body (whoever reads the socket does), or know what it means.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

import msgpack
import msgspec

from broker.errors import BadRequest

UNDECODABLE_BODY = 40001

DEPTH_MAX = 64
# A MessagePack header may claim any count, and the decoder allocates for it before reading on.
ITEMS_MAX = 65_536

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SCALARS = frozenset({str, bytes, int, float, bool, type(None)})
_CONTAINERS = frozenset({dict, list})


def decode_json(body: bytes, depth_max: int = DEPTH_MAX) -> Any:
    """The value of a JSON body, nested at most `depth_max` levels.

    Raises BadRequest 40001: not UTF-8, not JSON (NaN and Infinity are not), too deep, a number out
    of range. Of duplicate keys the last one counts.
    """
    if not _json_depth_within(body, depth_max):
        raise _too_deep(depth_max)
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}", UNDECODABLE_BODY) from None


def decode_msgpack(body: bytes, depth_max: int = DEPTH_MAX) -> Any:
    """The value of a MessagePack body, nested at most `depth_max` levels.

    The old raw type, which python's SDK sends for bytes and text alike, reads as text.
    Raises BadRequest 40001: not MessagePack, trailing bytes, text that is not UTF-8, an extension
    type, NaN or Infinity, a map key that is not a string, more than ITEMS_MAX entries in one array
    or map, too deep.
    """
    try:
        value = msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            max_array_len=ITEMS_MAX,
            max_map_len=ITEMS_MAX,
        )
    except msgpack.StackError:
        raise _too_deep(depth_max) from None
    except (msgpack.UnpackException, ValueError) as error:
        raise BadRequest(f"the body is not valid MessagePack: {error}", UNDECODABLE_BODY) from None
    _check_plain([value], depth_max)
    return value


def encode_json(value: Any) -> bytes:
    """Compact UTF-8 JSON. `value` holds no bytes and no NaN: JSON would garble them silently."""
    return msgspec.json.encode(value)


def encode_msgpack(value: Any) -> bytes:
    """MessagePack with the bin type for bytes; ints stay ints, those it has no room for as text."""
    return bytes(msgpack.packb(value, use_bin_type=True, default=_digits))


def _digits(value: object) -> str:
    """JSON has numbers of any size, and where one came in an echo of it may go out."""
    if not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} is nothing that goes out")
    return str(value)


def _json_depth_within(body: bytes, depth_max: int) -> bool:
    if body.count(b"[") + body.count(b"{") <= depth_max:
        return True  # almost every body: not even a bracket in a string could make it deeper
    depth = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > depth_max:
            return False
    return True


def _check_plain(level: list[Any], depth_max: int) -> None:
    """Walk a decoded value breadth first: depth, string keys, plain values only."""
    level = _containers(level)
    for _ in range(depth_max):
        if not level:
            return
        level = [found for parent in level for found in _containers(_children(parent))]
    if level:
        raise _too_deep(depth_max)


def _children(parent: dict[Any, Any] | list[Any]) -> Iterable[Any]:
    if isinstance(parent, list):
        return parent
    if not set(map(type, parent)) <= {str}:
        raise BadRequest("map keys must be strings", UNDECODABLE_BODY)
    return parent.values()


def _containers(values: Iterable[Any]) -> list[Any]:
    kinds = set(map(type, values))
    if kinds - _SCALARS - _CONTAINERS:
        raise BadRequest("MessagePack extension types are not accepted", UNDECODABLE_BODY)
    if float in kinds and not all(math.isfinite(v) for v in values if type(v) is float):
        raise BadRequest("NaN and Infinity are not accepted", UNDECODABLE_BODY)
    if kinds.isdisjoint(_CONTAINERS):
        return []
    return [value for value in values if type(value) in _CONTAINERS]


def _too_deep(depth_max: int) -> BadRequest:
    return BadRequest(f"the body nests deeper than {depth_max} levels", UNDECODABLE_BODY)
