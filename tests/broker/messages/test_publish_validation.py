"""The rules of one publish request (reference 1.7.1 and 2.6): each at its edge, with its code."""

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.auth.capability import DEFAULT_KEY, parse
from broker.auth.credentials import Principal
from broker.errors import BadRequest, BrokerError, Unauthorized
from broker.messages.extras import is_ephemeral
from broker.messages.message import Message
from broker.messages.publish import (
    DEFAULT_LIMITS,
    PublishLimits,
    permit,
    size_bytes,
    validate,
)


def principal(
    client_id: str | None = None,
    kind: Literal["key", "jwt"] = "key",
    capability: dict[str, list[str]] | None = None,
) -> Principal:
    allowed = DEFAULT_KEY if capability is None else parse(capability)
    return Principal(
        app_id="app", key_name="app.k", capability=allowed, client_id=client_id, kind=kind
    )


KEY = principal()


def checked(*messages: Message, by: Principal = KEY, **options: Any) -> tuple[Message, ...]:
    return validate(messages, permit(by, "orders"), **options).messages


def refusal(*messages: Message, by: Principal = KEY, **options: Any) -> tuple[int, int]:
    with pytest.raises(BrokerError) as caught:
        checked(*messages, by=by, **options)
    return caught.value.code, caught.value.status


def raw(**fields: Any) -> Message:
    """A message as an embedding program may build it: nothing checks these types before us."""
    return Message(**fields)


def test_a_plain_message_passes_as_the_same_object() -> None:
    message = Message(name="created", data="x", extras={"headers": {"a": 1}})
    assert checked(message)[0] is message


def test_nothing_given_stays_absent_and_empty_stays_empty() -> None:
    assert checked(Message()) == (Message(),)
    assert checked(Message(name="", data="")) == (Message(name="", data=""),)
    assert checked(Message(name="", data=b"")) == (Message(name="", data=b""),)


def test_publishing_needs_the_capability() -> None:
    assert refusal(Message(), by=principal(capability={"*": ["subscribe"]})) == (40160, 401)
    assert refusal(Message(), by=principal(capability={"other": ["*"]})) == (40160, 401)


def test_an_empty_array_is_refused() -> None:
    assert refusal() == (40030, 400)


def test_at_most_a_thousand_messages() -> None:
    assert len(checked(*[Message()] * 1000)) == 1000
    assert refusal(*[Message()] * 1001) == (40034, 400)
    assert refusal(*[Message()] * 3, limits=PublishLimits(messages=2)) == (40034, 400)


@pytest.mark.parametrize(
    "ids",
    [
        [None],
        [None, None],
        ["order-7"],
        ["b64id==:0"],
        ["x:5"],
        ["base:0", "base:1"],
        ["a:b:0", "a:b:1", "a:b:2"],
        ["x" * 1024],
    ],
)
def test_ids_that_are_taken(ids: list[str | None]) -> None:
    messages = checked(*(Message(id=id_) for id_ in ids))
    assert [message.id for message in messages] == ids


@pytest.mark.parametrize(
    "ids",
    [
        [""],
        ["x" * 1025],
        [7],
        ["\ud800"],
        ["a", "b"],
        ["base:0", None],
        [None, "base:1"],
        ["base:1", "base:0"],
        ["base:0", "base:0"],
        ["base:0", "other:1"],
        ["base:1", "base:2"],
        ["base:00", "base:01"],
        [":0", ":1"],
        ["0", "1"],
    ],
)
def test_ids_that_are_refused(ids: list[Any]) -> None:
    assert refusal(*(raw(id=id_) for id_ in ids)) == (40031, 400)


@pytest.mark.parametrize(
    ("by", "claimed", "stored"),
    [
        (principal(), None, None),
        (principal(), "ann", "ann"),
        (principal("ann"), None, "ann"),
        (principal("ann"), "ann", "ann"),
        (principal("ann", "jwt"), None, "ann"),
        (principal("ann", "jwt"), "ann", "ann"),
        (principal("*", "jwt"), None, None),
        (principal("*", "jwt"), "ann", "ann"),
        (principal(None, "jwt"), None, None),
    ],
)
def test_the_stored_client_id(by: Principal, claimed: str | None, stored: str | None) -> None:
    assert checked(Message(client_id=claimed), by=by)[0].client_id == stored


@pytest.mark.parametrize(
    ("by", "claimed"),
    [
        (principal("ann"), "bob"),
        (principal("ann", "jwt"), "bob"),
        (principal(None, "jwt"), "ann"),
        (principal(), "*"),
        (principal("*", "jwt"), "*"),
        (principal(), ""),
        (principal(), 7),
        (principal(), "\ud800"),
    ],
)
def test_client_ids_that_are_refused(by: Principal, claimed: Any) -> None:
    assert refusal(raw(client_id=claimed), by=by) == (40012, 400)
    assert refusal(Message(), raw(client_id=claimed), by=by) == (40012, 400)


def test_an_identified_namespace_takes_no_anonymous_message() -> None:
    assert refusal(Message(), identified=True) == (40161, 401)
    assert refusal(Message(), by=principal(None, "jwt"), identified=True) == (40161, 401)
    assert checked(Message(), by=principal("ann"), identified=True)[0].client_id == "ann"
    assert checked(Message(client_id="ann"), identified=True)[0].client_id == "ann"


@pytest.mark.parametrize(
    ("data", "encoding", "stored"),
    [
        ("text", None, ("text", None)),
        ("text", "", ("text", None)),
        ("text", "foo/bar", ("text", "foo/bar")),
        (b"\x00\xff", "cipher+aes-128-cbc", (b"\x00\xff", "cipher+aes-128-cbc")),
        (bytearray(b"x"), None, (b"x", None)),
        (memoryview(b"x"), None, (b"x", None)),
        ({"id": 7, "é": [1.5, None, True]}, None, ('{"id":7,"é":[1.5,null,true]}', "json")),
        ([], "", ("[]", "json")),
        (("a", 1), None, ('["a",1]', "json")),
        ({"a": 2**70}, "foo", ('{"a":1180591620717411303424}', "foo/json")),
        ({"a": 1}, "json", ('{"a":1}', "json")),
        ({"a": 1}, "utf-8/json", ('{"a":1}', "utf-8/json")),
        (None, "json", (None, None)),
    ],
)
def test_payloads_in_stored_form(
    data: Any, encoding: str | None, stored: tuple[str | bytes | None, str | None]
) -> None:
    message = checked(raw(data=data, encoding=encoding))[0]
    assert (message.data, message.encoding) == stored


class Unrepresentable:
    """Nothing JSON knows."""


@pytest.mark.parametrize(
    "data",
    [
        7,
        1.5,
        True,
        False,
        {1, 2},
        Unrepresentable(),
        {"a": Unrepresentable()},
        {"a": b"bytes"},
        [float("nan")],
        [float("inf")],
        {"a": "\ud800"},
        "\ud800",
    ],
)
def test_payloads_that_are_refused(data: Any) -> None:
    assert refusal(raw(data=data)) == (40013, 400)


def test_a_payload_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert refusal(raw(data=endless)) == (40013, 400)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert refusal(raw(data=deep)) == (40013, 400)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": "x" * 2049}, 40016),
        ({"name": 7}, 40016),
        ({"name": "\ud800"}, 40016),
        ({"encoding": "x" * 1025, "data": "x"}, 40013),
        ({"encoding": 7, "data": "x"}, 40013),
    ],
)
def test_fields_that_are_refused(fields: dict[str, Any], code: int) -> None:
    assert refusal(raw(**fields)) == (code, 400)


def test_the_longest_name_is_taken() -> None:
    assert checked(Message(name="x" * 2048))


@pytest.mark.parametrize(
    "extras",
    [
        {},
        {"push": [{"title": "Testing"}]},  # RSL6a2 uses this very shape
        {"push": {"notification": {"title": "x"}}, "ref": {"type": "com.x", "timeserial": "1"}},
        {"headers": {"s": "x", "i": 1, "f": 1.5, "b": False, "n": None, "é": "ü"}},
        {"headers": {}},
        {"headers": None},
        {"ephemeral": True},
        {"ephemeral": False},
        {"ephemeral": None},
        {"ai": {"deeply": [{"nested": None}]}},
        {"privileged": {"skipRule": "*"}},
    ],
)
def test_extras_come_back_unchanged(extras: dict[str, Any]) -> None:
    stored = checked(Message(extras=extras))[0].extras
    assert stored == extras
    assert stored is extras


@pytest.mark.parametrize(
    "extras",
    [
        {"unknown": 1},
        {"headers": {}, "Headers": {}},
        {1: 2},
        {"delta": {"from": "x", "format": "vcdiff"}},
        {"headers": []},
        {"headers": "x"},
        {"headers": {"a": {}}},
        {"headers": {"a": []}},
        {"headers": {1: "a"}},
        {"headers": {"a": b"x"}},
        {"headers": {"a": float("nan")}},
        {"headers": {"a": 2**64}},
        {"headers": {"a": "\ud800"}},
        {"ai": b"x"},
        {"ephemeral": "true"},
        {"ephemeral": 1},
        [],
        "x",
    ],
    ids=repr,
)
def test_extras_that_are_refused(extras: Any) -> None:
    assert refusal(raw(extras=extras)) == (40032, 400)


def test_privileged_extras_need_their_capability() -> None:
    by = principal(capability={"*": ["publish"]})
    assert refusal(Message(extras={"privileged": {"skipRule": "*"}}), by=by) == (40160, 401)
    assert checked(Message(extras={"privileged": None}), by=by)


def test_ephemeral_and_durable_do_not_mix() -> None:
    brief, kept = Message(extras={"ephemeral": True}), Message(extras={"ephemeral": False})
    assert refusal(brief, Message()) == (40030, 400)
    assert refusal(kept, brief) == (40030, 400)
    assert checked(brief, brief)
    assert checked(kept, Message(), Message(extras={"headers": {}}))
    assert is_ephemeral(brief)
    assert not is_ephemeral(kept)
    assert not is_ephemeral(Message())


@pytest.mark.parametrize(
    ("message", "size"),
    [
        (Message(), 0),
        (Message(id="x" * 99, encoding="json", connection_id="x"), 0),
        (Message(name="é", client_id="ü", data="€"), 2 + 2 + 3),
        (Message(data=b"\x00" * 10), 10),
        (Message(extras={"headers": {"a": 1}}), len('{"headers":{"a":1}}')),
        (Message(extras={"headers": {"é": 1}}), len('{"headers":{"é":1}}')),
    ],
)
def test_what_counts(message: Message, size: int) -> None:
    assert size_bytes(message) == size


def test_the_limit_is_on_the_sum() -> None:
    limit = DEFAULT_LIMITS.message_bytes
    assert limit == 65_536
    assert checked(Message(data="x" * limit))
    assert refusal(Message(data="x" * (limit + 1))) == (40009, 413)
    half = Message(data=b"x" * (limit // 2))
    assert checked(half, half)
    assert refusal(half, half, Message(name="x")) == (40009, 413)
    assert refusal(raw(data={"k": "x" * limit})) == (40009, 413)


def test_an_implied_client_id_does_not_count() -> None:
    by = principal("a" * 100)
    assert checked(Message(data="x" * DEFAULT_LIMITS.message_bytes), by=by)


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=5),
    st.binary(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["headers", "ephemeral", "x"]), st.floats(), max_size=2),
)
FIELDS = ("id", "name", "data", "encoding", "client_id", "extras")


@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, ANYTHING)), max_size=3))
def test_any_fields_pass_or_are_refused_and_nothing_else(listing: list[dict[str, Any]]) -> None:
    try:
        messages = checked(*(raw(**fields) for fields in listing))
    except (BadRequest, Unauthorized):
        return
    assert checked(*messages) == messages  # what is stored is valid as it stands
