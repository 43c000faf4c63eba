"""Less of a reply, or another shape of it: `fields`, `flatten` and `select` (reference 1.5).

A path is field names and array indices with dots between them. A field whose own name has dots in
it (the entries of usage statistics) is found by them too, as if it were nested.

    fields=name,extras.headers      each object with these fields only, arrays element by element
    select=*.status.*               a flat map of what matches, "*" standing for one component
    flatten=true                    a flat map of everything

`fields` applies first. Refuses to do: parse expressions, or shape an error.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from broker.errors import BadRequest

Path = tuple[str, ...]
INVALID_VALUE = 40003
PATHS_MAX = 50
ANY = "*"


def paths(text: str, name: str) -> tuple[Path, ...]:
    """The paths of a parameter. Raises BadRequest 40003 for too many, and for an empty one."""
    found = tuple(tuple(path.split(".")) for path in text.split(","))
    if len(found) > PATHS_MAX:
        raise BadRequest(f"{name}: more than {PATHS_MAX} paths", INVALID_VALUE)
    if any(not all(path) for path in found):
        raise BadRequest(f"{name}: a path has an empty component", INVALID_VALUE)
    return found


def only(value: Any, wanted: Sequence[Path]) -> Any:
    """`value` with what the paths lead to, in the order and nesting that it has."""
    if isinstance(value, list):
        return [only(item, wanted) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, inner in value.items():
        rests = list(_rests(tuple(key.split(".")), wanted))
        if () in rests:
            kept[key] = inner
        elif rests and isinstance(inner, dict | list):
            kept[key] = only(inner, rests)
    return kept


def _rests(key: Path, wanted: Sequence[Path]) -> Iterator[Path]:
    """What is left of each path behind a key that it leads through; () where it ends there."""
    for path in wanted:
        if path[: len(key)] == key[: len(path)]:
            yield path[len(key) :]


def selected(value: Any, wanted: Sequence[Path]) -> dict[str, Any]:
    """Everything that a path matches, by its whole path."""
    found: dict[str, Any] = {}
    for path in wanted:
        found.update(_matches(value, path, ""))
    return found


def _matches(value: Any, path: Path, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, inner in _children(value):
        parts = tuple(key.split("."))
        if len(parts) > len(path) or any(
            ours not in (ANY, theirs) for ours, theirs in zip(path, parts, strict=False)
        ):
            continue
        if len(parts) == len(path):
            yield prefix + key, inner
        else:
            yield from _matches(inner, path[len(parts) :], f"{prefix}{key}.")


def flat(value: Any) -> Any:
    """One level of long keys. What holds nothing, or is no container, is a value as it is."""
    return dict(_leaves(value, "")) if isinstance(value, dict | list) else value


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, inner in _children(value):
        if isinstance(inner, dict | list) and inner:
            yield from _leaves(inner, f"{prefix}{key}.")
        else:
            yield prefix + key, inner


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from ((str(index), inner) for index, inner in enumerate(value))
