"""Less of a value, or another shape of it: `fields`, `select` and `flatten`, without a server."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.shaping import PATHS_MAX, flat, only, paths, selected
from broker.errors import BadRequest

# What the seed's examples are about: statistics of an app.
PEAK = {"peak": 2, "min": 1, "mean": 1, "opened": 2}
STATISTICS = [
    {"intervalId": "2015-11-20:15", "unit": "hour", "channels": PEAK, "all": {"channels": {"n": 1}}}
]
# As they were named later: names that are paths.
ENTRIES = [{"intervalId": "x", "entries": {"channels.peak": 2, "channels.min": 1, "other": 3}}]

names = st.text(st.characters(exclude_characters=".,"), min_size=1, max_size=4)
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=3)


def containers(keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=12,
    )


plain_values = containers(names.filter(lambda name: not name.isdigit()))
any_values = containers(st.text(max_size=4))


def fields(value: Any, text: str) -> Any:
    return only(value, paths(text, "fields"))


def select(value: Any, text: str) -> dict[str, Any]:
    return selected(value, paths(text, "select"))


def test_the_examples_of_the_seed() -> None:
    wanted = "channels.peak,intervalId"
    assert fields(STATISTICS[0], wanted) == {
        "channels": {"peak": 2},
        "intervalId": "2015-11-20:15",
    }
    kept = fields(STATISTICS, wanted)
    assert kept == [fields(STATISTICS[0], wanted)]
    assert flat(kept) == {"0.channels.peak": 2, "0.intervalId": "2015-11-20:15"}
    assert select(STATISTICS, "*.channels.*") == {
        "0.channels.peak": 2,
        "0.channels.min": 1,
        "0.channels.mean": 1,
        "0.channels.opened": 2,
    }


def test_fields_keep_order_and_nesting() -> None:
    value = {"b": 1, "a": {"y": 1, "x": {"z": [{"p": 1, "q": 2}, {"q": 3}, 4]}}, "c": 3}
    assert list(fields(value, "a,b")) == ["b", "a"]
    assert fields(value, "a.x.z.p") == {"a": {"x": {"z": [{"p": 1}, {}, 4]}}}
    assert fields(value, "a,a.x") == {"a": value["a"]}
    assert fields(value, "b.deeper,nothing") == {}
    assert fields([1, "x", None], "a") == [1, "x", None]
    assert fields("text", "a") == "text"


def test_names_with_dots_are_paths() -> None:
    kept = [{"entries": {"channels.peak": 2}}]
    assert fields(ENTRIES, "entries.channels.peak") == kept
    both = [{"entries": {"channels.peak": 2, "channels.min": 1}}]
    assert fields(ENTRIES, "entries.channels") == both
    assert fields(ENTRIES, "entries.channels.peak.more") == [{"entries": {}}]
    assert fields(ENTRIES, "entries.chan") == [{"entries": {}}]
    assert select(ENTRIES, "*.entries.channels.*") == {
        "0.entries.channels.peak": 2,
        "0.entries.channels.min": 1,
    }
    assert select(ENTRIES, "*.entries.*") == {"0.entries.other": 3}
    assert flat(ENTRIES)["0.entries.channels.min"] == 1
    inside = {"a.b": {"c.d": {"e": 1, "f": 2}}}
    assert fields(inside, "a.b.c.d.e") == {"a.b": {"c.d": {"e": 1}}}
    assert select(inside, "a.*.c.d.e") == {"a.b.c.d.e": 1}


def test_what_select_matches_is_whole() -> None:
    value = {"a": [{"b": {"c": 1}}, {"b": 2}], "d": {}}
    assert select(value, "a.*.b") == {"a.0.b": {"c": 1}, "a.1.b": 2}
    assert select(value, "a.1.b,d,x") == {"a.1.b": 2, "d": {}}
    assert select(value, "*") == value
    assert select(value, "a.b") == {}
    assert select(7, "*") == {}


def test_what_holds_nothing_is_flat_already() -> None:
    assert flat({"a": {}, "b": [[], {}], "c": None}) == {"a": {}, "b.0": [], "b.1": {}, "c": None}
    assert flat([]) == {}
    assert flat({}) == {}
    assert flat("x") == "x"


@pytest.mark.parametrize("text", [".", "a.", ".a", "a..b", "a,", ",", ",a", "a,,b"])
def test_empty_components_are_refused(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^fields: ") as caught:
        paths(text, "fields")
    assert caught.value.code == 40003


def test_there_may_be_so_many_paths() -> None:
    assert len(paths(",".join("a" * PATHS_MAX), "select")) == PATHS_MAX
    with pytest.raises(BadRequest, match=r"^select: ") as caught:
        paths(",".join("a" * (PATHS_MAX + 1)), "select")
    assert caught.value.code == 40003


@given(any_values)
def test_flat_has_leaves_only(value: Any) -> None:
    if not isinstance(value, dict | list):
        assert flat(value) == value
        return
    made = flat(value)
    assert isinstance(made, dict)
    assert all(not inner for inner in made.values() if isinstance(inner, dict | list))
    assert flat(made) == made


@given(plain_values)
def test_flat_can_be_undone(value: Any) -> None:
    """Where no name has a dot in it, and none is a number."""
    if isinstance(value, dict | list) and value:
        assert unflattened(flat(value)) == value


def unflattened(made: dict[str, Any]) -> Any:
    nested: dict[str, Any] = {}
    for path, value in made.items():
        *parents, last = path.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return _lists(nested)


def _lists(nested: Any) -> Any:
    if not isinstance(nested, dict):
        return nested
    inner = {name: _lists(value) for name, value in nested.items()}
    if inner and all(name.isascii() and name.isdigit() for name in inner):
        return [inner[str(index)] for index in range(len(inner))]
    return inner


@given(plain_values)
def test_what_stars_select_is_what_flat_has(value: Any) -> None:
    """At each depth: what is selected, made flat, is that part of the whole made flat."""
    if not isinstance(value, dict | list):
        return
    whole = flat(value)
    for depth in range(1, 5):
        found = select(value, ".".join("*" * depth))
        deep = {path: inner for path, inner in whole.items() if path.count(".") >= depth - 1}
        assert flat(found) == deep


@given(st.dictionaries(names, plain_values, max_size=4))
def test_all_fields_are_everything(value: dict[str, Any]) -> None:
    every = [(name,) for name in value]
    assert only(value, every) == value
    assert list(only(value, every)) == list(value)
    assert only([value, value], every) == [value, value]


@given(any_values, st.lists(st.lists(names, min_size=1, max_size=3).map(tuple), max_size=4))
def test_fields_only_take_away(value: Any, wanted: list[tuple[str, ...]]) -> None:
    kept = only(value, wanted)
    assert_part(kept, value)
    assert only(kept, wanted) == kept


def assert_part(part: Any, whole: Any) -> None:
    assert type(part) is type(whole)
    if isinstance(whole, dict):
        assert list(part) == [name for name in whole if name in part]
        for name, inner in part.items():
            assert_part(inner, whole[name])
    elif isinstance(whole, list):
        assert len(part) == len(whole)
        for one, other in zip(part, whole, strict=True):
            assert_part(one, other)
    else:
        assert part == whole
