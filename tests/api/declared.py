"""What routes declare that they answer (api.operation), and whether a value is that, strictly: no
field that the type has not, nothing converted."""

from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from api import openapi
from api.app import create_app
from api.openapi import Endpoint
from api.operation import Operation
from api.settings import ServerSettings
from broker import Broker


@cache
def endpoints() -> dict[str, Endpoint]:
    """Every route by the id of its operation; no broker stands behind them."""
    nothing = cast("Broker", SimpleNamespace(series="declared", push=None, clock=None))
    app = create_app(nothing, ServerSettings(), sandbox=True)
    found = list(openapi.endpoints(app))
    by_id = {endpoint.operation.id: endpoint for endpoint in found}
    assert len(by_id) == len(found)
    return by_id


def check_answer(described: Operation, value: Any) -> None:
    """`value`: the body of a successful reply, as it came in any format, not reshaped."""
    plain = without_bytes(value)
    kinds = openapi.alternatives(described.answer)
    assert any(is_exactly(plain, kind) for kind in kinds), (described.id, value)


def is_exactly(value: Any, kind: Any) -> bool:
    try:
        read = msgspec.to_builtins(msgspec.convert(value, kind))
    except msgspec.ValidationError:
        return False
    return _canonical(read) == _canonical(value)


def without_bytes(value: Any) -> Any:
    """MessagePack has bytes where JSON has text: in `data` only."""
    if isinstance(value, list):
        return [without_bytes(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: "" if name == "data" and isinstance(inner, bytes) else without_bytes(inner)
        for name, inner in value.items()
    }


def _canonical(value: Any) -> bytes:
    """Apart from equality of values, 1 is not 1.0 and not true here."""
    assert not isinstance(value, bytes)
    return msgspec.json.encode(value, order="sorted")
