"""The five methods of summing up, against sets and counters; what is shown; what it costs."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import BadRequest
from broker.events import Annotation
from broker.interactions import summaries
from broker.interactions.summaries import (
    CLIENTS_SHOWN_MAX,
    METHODS,
    NAMED,
    NAMES_MAX,
    TYPES_MAX,
    check_room,
    fold,
    method_of,
    summary_of,
)

OF = 1 << 20
CREATE, DELETE = 0, 1


class Rows:
    """A table and its reader in one. `touched`: how many rows were read or written."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.touched = 0

    def get(self, *key: Any) -> bytes | None:
        self.touched += 1
        return self.rows.get(key[-1])

    def put(self, key: bytes, value: bytes) -> None:
        self.touched += 1
        self.rows[key] = value

    def delete(self, key: bytes) -> None:
        self.touched += 1
        self.rows.pop(key, None)

    def scan(self, *_: Any) -> Iterator[tuple[bytes, bytes]]:
        raise AssertionError("summing up looks at no more rows than it names")

    def fold(self, *annotations: Annotation) -> None:
        for annotation in annotations:
            fold(self, "app", "c", OF, annotation)

    def summary(self) -> Any:
        return summary_of(self, "app", "c", OF)


def annotation(
    method: str,
    client: str | None = None,
    name: str | None = None,
    action: int = CREATE,
    count: int | None = None,
    namespace: str = "t",
) -> Annotation:
    return Annotation(
        id="i",
        action=action,
        type=f"{namespace}:{method}",
        name=name,
        count=count,
        client_id=client,
    )


class Model:
    """Sets and counters of one message."""

    def __init__(self) -> None:
        self.total = 0
        self.flag: list[str] = []
        self.distinct: defaultdict[str, list[str]] = defaultdict(list)
        self.unique: dict[str, str] = {}
        self.order: defaultdict[str, list[str]] = defaultdict(list)
        self.counts: defaultdict[str, Counter[str | None]] = defaultdict(Counter)

    def add(self, one: Annotation) -> None:
        method, is_made = one.type.partition(":")[2], one.action == CREATE
        client, name = one.client_id or "", one.name or ""
        if method == "total.v1":
            self.total = max(0, self.total + (1 if is_made else -1))
        elif method == "flag.v1":
            _set(self.flag, client, is_made)
        elif method == "distinct.v1":
            _set(self.distinct[name], client, is_made)
        elif method == "unique.v1":
            self.move(client, name, is_made)
        else:
            self.count(one, name, is_made)

    def move(self, client: str, name: str, is_made: bool) -> None:
        held = self.unique.get(client)
        if held is not None and (held == name or is_made) and (held != name or not is_made):
            self.order[held].remove(client)
            del self.unique[client]
        if is_made and self.unique.get(client) != name:
            self.unique[client] = name
            self.order[name].append(client)

    def count(self, one: Annotation, name: str, is_made: bool) -> None:
        counts, count = self.counts[name], one.count or 1
        if is_made:
            counts[one.client_id] += count
        elif one.client_id is None:
            counts[None] = max(0, counts[None] - count)
        else:
            del counts[one.client_id]

    def summary(self) -> dict[str, Any]:
        found = {
            "t:total.v1": {"total": self.total} if self.total else {},
            "t:flag.v1": _clients(self.flag),
            "t:distinct.v1": _full({n: _clients(c) for n, c in self.distinct.items()}),
            "t:unique.v1": _full({n: _clients(c) for n, c in self.order.items()}),
            "t:multiple.v1": _full({n: _counted(c) for n, c in self.counts.items()}),
        }
        return _full(found)


def _set(clients: list[str], client: str, is_made: bool) -> None:
    if is_made and client not in clients:
        clients.append(client)
    elif not is_made and client in clients:
        clients.remove(client)


def _clients(clients: list[str]) -> dict[str, Any]:
    return {"total": len(clients), "clientIds": clients, "clipped": False} if clients else {}


def _counted(counts: Counter[str | None]) -> dict[str, Any]:
    known = {client: count for client, count in counts.items() if client is not None}
    if not counts.total():
        return {}
    return {
        "total": counts.total(),
        "clientCounts": known,
        "totalUnidentified": counts[None],
        "clipped": False,
        "totalClientIds": len(known),
    }


def _full(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value}


clients = st.sampled_from(["a", "b", "c", "\0", "a\0b"])
names = st.sampled_from(["x", "y", "\0", "a\0b", "b"])
annotations = st.builds(
    annotation,
    st.sampled_from(sorted(METHODS)),
    clients,
    names,
    st.sampled_from([CREATE, CREATE, DELETE]),
    st.sampled_from([None, None, 1, 3]),
)
anonymous = st.builds(
    annotation,
    st.sampled_from(["total.v1", "multiple.v1"]),
    st.none(),
    names,
    st.sampled_from([CREATE, CREATE, DELETE]),
    st.sampled_from([None, 2]),
)


@given(st.lists(annotations | anonymous, max_size=40))
@settings(max_examples=400, deadline=None)
def test_summaries_are_those_of_plain_sets(history: list[Annotation]) -> None:
    rows, model = Rows(), Model()
    for one in history:
        rows.fold(one)
        model.add(one)
        assert rows.summary() == model.summary()


@given(st.lists(annotations, max_size=20))
@settings(deadline=None)
def test_taking_everything_back_leaves_nothing(history: list[Annotation]) -> None:
    """No row but that of an empty summary."""
    rows = Rows()
    rows.fold(*history)
    for one in history:
        for _ in history:
            rows.fold(annotation(one.type.partition(":")[2], one.client_id, one.name, DELETE))
    assert rows.summary() == ({} if history else None)
    assert len(rows.rows) == bool(history)


@pytest.mark.parametrize(
    "type_",
    ["total.v1", ":total.v1", "t:total", "t:total.v2", "t", "", "total.v1:t", "t:total.v1 "],
)
def test_types_without_a_method_are_not_summed_up(type_: str) -> None:
    assert method_of(type_) is None
    rows = Rows()
    rows.fold(Annotation(id="i", action=CREATE, type=type_, client_id="a"))
    assert rows.summary() is None


def test_the_method_is_what_follows_the_last_colon() -> None:
    assert method_of("a:b:flag.v1") == "flag.v1"
    rows = Rows()
    rows.fold(annotation("flag.v1", "a", namespace="x"), annotation("flag.v1", "b", namespace="y"))
    shown = {type_: found["clientIds"] for type_, found in rows.summary().items()}
    assert shown == {"x:flag.v1": ["a"], "y:flag.v1": ["b"]}


@pytest.mark.parametrize("method", ["flag.v1", "distinct.v1", "unique.v1"])
def test_many_clients_are_counted_and_some_shown(method: str) -> None:
    rows, extra = Rows(), 7
    everybody = [f"c{n}" for n in range(CLIENTS_SHOWN_MAX + extra)]
    rows.fold(*(annotation(method, client, "x") for client in everybody * 2))

    def found() -> Any:
        summary = rows.summary().get(f"t:{method}", {})
        return summary.get("x") if method in NAMED else summary

    assert found()["total"] == len(everybody)
    assert found()["clientIds"] == everybody[:CLIENTS_SHOWN_MAX]
    assert found()["clipped"] is True
    hidden = everybody[-1]
    rows.fold(annotation(method, hidden, "x", DELETE))
    rows.fold(annotation(method, hidden, "x", DELETE))
    assert (found()["total"], found()["clipped"]) == (len(everybody) - 1, True)
    for client in everybody[CLIENTS_SHOWN_MAX:]:
        rows.fold(annotation(method, client, "x", DELETE))
    assert (found()["total"], found()["clipped"]) == (CLIENTS_SHOWN_MAX, False)
    rows.fold(*(annotation(method, client, "x", DELETE) for client in everybody))
    assert rows.summary() == {}


def test_many_clients_counted_by_how_often() -> None:
    rows, extra = Rows(), 7
    everybody = [f"c{n}" for n in range(CLIENTS_SHOWN_MAX + extra)]
    rows.fold(*(annotation("multiple.v1", client, "x", count=2) for client in everybody))
    rows.fold(annotation("multiple.v1", None, "x"))
    rows.fold(*(annotation("multiple.v1", everybody[n], "x") for n in (0, -1)))
    found = rows.summary()["t:multiple.v1"]["x"]
    assert found["total"] == 2 * len(everybody) + 3
    assert (found["totalClientIds"], found["totalUnidentified"]) == (len(everybody), 1)
    assert found["clipped"] is True
    assert len(found["clientCounts"]) == CLIENTS_SHOWN_MAX
    assert (found["clientCounts"]["c0"], everybody[-1] in found["clientCounts"]) == (3, False)
    rows.fold(annotation("multiple.v1", everybody[-1], "x", DELETE))
    assert rows.summary()["t:multiple.v1"]["x"]["total"] == 2 * len(everybody)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_one_more_costs_the_same_however_many_there_are(method: str) -> None:
    """Rows that are read or written, and the bytes of the largest."""
    rows = Rows()
    costs, sizes = [], []
    for number in range(2_000):
        before = rows.touched
        rows.fold(annotation(method, f"c{number}", "x"))
        costs.append(rows.touched - before)
        sizes.append(max(map(len, rows.rows.values())))
    assert max(costs) == costs[0] <= 6
    assert sizes[-1] <= sizes[CLIENTS_SHOWN_MAX] + 16


def test_a_summary_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full one counts on, shows nobody more, and takes no further name or type."""
    monkeypatch.setattr(summaries, "BYTES_MAX", 2_000)
    rows = Rows()
    long_ids = [f"{n:0500}" for n in range(20)]
    rows.fold(*(annotation("distinct.v1", client, "x") for client in long_ids))
    found = rows.summary()["t:distinct.v1"]["x"]
    assert (found["total"], found["clientIds"], found["clipped"]) == (20, long_ids[:4], True)
    assert max(map(len, rows.rows.values())) < 3_000
    check_room(rows, "app", "c", OF, [annotation("distinct.v1", "a", "x")])
    for more in (annotation("distinct.v1", "a", "y"), annotation("total.v1", "a")):
        with pytest.raises(BadRequest):
            check_room(rows, "app", "c", OF, [more])
    taken_back = annotation("distinct.v1", "a", "y", DELETE)
    unsummed = Annotation(id="i", action=CREATE, type="whatever")
    check_room(rows, "app", "c", OF, [taken_back, unsummed])


@pytest.mark.parametrize("one_request", [True, False])
def test_a_message_takes_so_many_types(one_request: bool) -> None:
    rows = Rows()
    many = [annotation("total.v1", "a", namespace=f"t{n}") for n in range(TYPES_MAX)]
    more = annotation("total.v1", "a", namespace="more")
    given = many if one_request else []
    if not one_request:
        rows.fold(*many)
    check_room(rows, "app", "c", OF, [*given, many[0]])
    with pytest.raises(BadRequest) as caught:
        check_room(rows, "app", "c", OF, [*given, more])
    assert caught.value.code == 40000


@pytest.mark.parametrize("one_request", [True, False])
@pytest.mark.parametrize("method", sorted(NAMED))
def test_a_type_takes_so_many_names(method: str, one_request: bool) -> None:
    rows = Rows()
    many = [annotation(method, f"c{n}", f"n{n}") for n in range(NAMES_MAX)]
    given = many if one_request else []
    if not one_request:
        rows.fold(*many)
    check_room(rows, "app", "c", OF, [*given, annotation(method, "a", "n0")])
    with pytest.raises(BadRequest):
        check_room(rows, "app", "c", OF, [*given, annotation(method, "a", "more")])
