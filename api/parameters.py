"""Query parameters as typed values: a struct says what a route takes, and reads it.

The same struct describes the parameters in `/openapi.json`, so what is documented is what is read.
A parameter that is absent or empty has its default, one that no field names is ignored, and what is
wrong is BadRequest 40003, naming the parameter. Of one that is given twice the first counts.

Numbers are plain decimal digits: neither "1e3" nor " 5" is one.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, inspect

from broker.errors import BadRequest

INVALID_VALUE = 40003
_DIGITS_MAX = 15  # milliseconds up to the year 33658
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class Params(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of what routes take. A field's `Meta(description=...)` is its line of documentation."""


P = TypeVar("P", bound=Params)
Count = Annotated[int, Meta(ge=1)]
Time = (
    Annotated[int, Meta(ge=0, description="milliseconds since the epoch, inclusive")]
    | Literal["now"]
    | None
)


def read(kind: type[P], args: Mapping[str, str]) -> P:
    """Raises BadRequest 40003 for the first parameter that is not what `kind` says."""
    given = {
        name: value_of(args[name]) for name, value_of in _readers(kind).items() if args.get(name)
    }
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(_reason(str(error)), INVALID_VALUE) from None


def time_ms(time: int | Literal["now"] | None, now_ms: int) -> int | None:
    return now_ms if time == "now" else time


def version(header: str | None, args: Mapping[str, str]) -> int:
    """The protocol version a client speaks, by `X-Ably-Version` or `v`: "3", or the whole number of
    "1.2", as versions were once written. 0 for none, and for what is no version."""
    number = (header or args.get("v") or "").partition(".")[0]
    return int(number) if _is_number(number) else 0


@lru_cache(maxsize=256)
def _readers(kind: type[Params]) -> dict[str, Callable[[str], Any]]:
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return {field.encode_name: _reader(field.type) for field in described.fields}


def _reader(described: inspect.Type) -> Callable[[str], Any]:
    kinds = set(_kinds(described))
    if inspect.IntType in kinds:
        return lambda text: int(text) if _is_number(text) else text
    if inspect.BoolType in kinds:
        return lambda text: _BOOLEANS.get(text.lower(), text)
    return str


def _kinds(described: inspect.Type) -> Iterator[type[inspect.Type]]:
    if isinstance(described, inspect.Metadata):
        yield from _kinds(described.type)
    elif isinstance(described, inspect.UnionType):
        for branch in described.types:
            yield from _kinds(branch)
    else:
        yield type(described)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX


def _reason(told: str) -> str:
    """msgspec's words for it, the parameter first."""
    what, _, where = told.rpartition(" - at `$.")
    return f"{where.rstrip('`')}: {what.replace('`', '')}"
