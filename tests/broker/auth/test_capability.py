"""The capability language: parsing, matching, and the intersection that keeps tokens in bounds."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.auth.capability import (
    DEFAULT_KEY,
    EVERYTHING,
    OPERATIONS,
    RESOURCES_MAX,
    Capability,
    intersect,
    parse,
)
from broker.errors import BadRequest


def listing(capability: Capability) -> dict[str, list[str]]:
    return {resource: list(operations) for resource, operations in capability.grants}


def test_text_and_object_are_the_same_and_print_canonically() -> None:
    source = {"b": ["subscribe", "publish", "publish"], "*": ["*"]}
    assert parse(source) == parse(json.dumps(source)) == parse(str(parse(source)))
    assert str(parse(source)) == '{"*":["*"],"b":["publish","subscribe"]}'


def test_the_defaults_print_as_the_protocol_writes_them() -> None:
    assert str(EVERYTHING) == '{"[*]*":["*"]}'
    assert str(DEFAULT_KEY) == '{"*":["*"]}'


def test_every_operation_of_the_language_is_known() -> None:
    assert listing(parse({"x": sorted(OPERATIONS)})) == {"x": sorted(OPERATIONS)}


def test_an_empty_object_is_valid_and_permits_nothing() -> None:
    assert not parse("{}")
    assert not parse("{}").permits("publish", "x")
    assert str(parse("{}")) == "{}"


@pytest.mark.parametrize(
    "source",
    [
        "",
        "{",
        "null",
        "[]",
        '"*"',
        "[" * 100_000,
        '{"*":["*"]}x',
        "{" + " " * 70_000 + "}",
        None,
        7,
        ["*"],
        {"*": []},
        {"*": None},
        {"*": "publish"},
        {"*": {"publish": True}},
        {"*": ["publish_"]},
        {"*": ["Publish"]},
        {"*": [""]},
        {"*": [None]},
        {"*": [["publish"]]},
        {"*": ["*", "publish"]},
        {"channel0": ["publish", "publish_"]},
        {"": ["publish"]},
        {1: ["publish"]},
        {"[meta": ["publish"]},
        {"[meta]": ["publish"]},
        {"[]x": ["publish"]},
        {"[?rewind=1]x": ["publish"]},
        {"[filter=name]x": ["publish"]},
        {f"channel{n}": ["publish"] for n in range(RESOURCES_MAX + 1)},
    ],
    ids=lambda source: repr(source)[:40],
)
def test_malformed_capabilities_are_refused(source: Any) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse(source)
    assert (refusal.value.code, refusal.value.status) == (40000, 400)


@pytest.mark.parametrize(
    ("resource", "covered", "not_covered"),
    [
        (
            "foo",
            ["foo", "[?rewind=1]foo"],
            ["foo:bar", "food", "Foo", "[meta]foo", "[filter=x]foo"],
        ),
        ("*", ["foo", "foo:bar", "a:b:c", "*", "[?rewind=1]foo"], ["[meta]log", "[filter=x]foo"]),
        ("ns:*", ["ns:a", "ns:a:b", "ns:*", "ns:"], ["ns", "nsa", "ms:a", "[meta]ns:a"]),
        ("foo:*:baz", ["foo:bar:baz", "foo:*:baz"], ["foo:baz", "foo:a:b:baz", "foo:bar:baz:x"]),
        ("*:baz", ["foo:baz"], ["baz", "a:b:baz"]),
        ("a:*:c:*", ["a:b:c:d", "a:b:c:d:e"], ["a:b:c", "a:c:d"]),
        ("foo*", ["foo*"], ["foo", "foobar", "foo:bar"]),
        ("foo:b*", ["foo:b*"], ["foo:bar"]),
        ("[meta]*", ["[meta]log", "[meta]a:b", "[meta?rewind=1]log"], ["log", "[filter=x]log"]),
        ("[meta]log", ["[meta]log"], ["log", "[meta]logs"]),
        ("[filter]foo", ["[filter=x]foo", "[filter=y?rewind=1]foo"], ["foo", "[filter=x]bar"]),
        ("[*]foo", ["foo", "[meta]foo", "[filter=x]foo"], ["bar", "[meta]bar"]),
        ("[*]ns:*", ["ns:a", "[meta]ns:a"], ["ns", "[meta]ns"]),
        ("[*]*", ["foo", "a:b", "[meta]log", "[filter=x]foo", "[?a=b]c"], []),
        ("[queue]*", ["[queue]jobs"], ["jobs"]),
    ],
)
def test_what_a_resource_covers(resource: str, covered: list[str], not_covered: list[str]) -> None:
    for operations in (["publish"], ["*"]):
        capability = parse({resource: operations})
        assert [name for name in covered if not capability.permits("publish", name)] == []
        assert [name for name in not_covered if capability.permits("publish", name)] == []


def test_operations_of_all_matching_resources_count() -> None:
    capability = parse({"*": ["subscribe"], "ns:*": ["history"], "ns:a": ["publish"]})
    allowed = {op for op in OPERATIONS if capability.permits(op, "ns:a")}
    assert allowed == {"subscribe", "history", "publish"}
    assert not capability.permits("publish", "ns:b")


def test_an_unterminated_bracket_is_a_bad_name_not_a_refused_one() -> None:
    with pytest.raises(BadRequest, match="never closed"):
        DEFAULT_KEY.permits("publish", "[meta")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"*": ["*"]}, True),
        ({"[*]*": ["*"]}, True),
        ({"*": ["stats"]}, True),
        ({"[*]*": ["stats", "publish"]}, True),
        ({"*": ["publish"]}, False),
        ({"ns:*": ["*"]}, False),
        ({"[meta]*": ["stats"]}, False),
        ({"foo": ["stats"]}, False),
        ({}, False),
    ],
)
def test_app_wide_operations_need_a_resource_that_names_everything(
    source: dict[str, list[str]], expected: bool
) -> None:
    assert parse(source).permits_app_wide("stats") is expected


FULL = {"*": ["*"]}


@pytest.mark.parametrize(
    ("request_", "key", "expected"),
    [
        # The checks of the SDKs' own capability tests (restcapability).
        (
            {"channel2": ["presence", "subscribe"]},
            {"channel2": ["publish", "subscribe"]},
            {"channel2": ["subscribe"]},
        ),
        (
            {"channel2": ["*"]},
            {"channel2": ["publish", "subscribe"]},
            {"channel2": ["publish", "subscribe"]},
        ),
        (
            {"channel6": ["publish", "subscribe"]},
            {"channel6": ["*"]},
            {"channel6": ["publish", "subscribe"]},
        ),
        (
            {"channel0": ["publish"], "channelx": ["publish"]},
            {"channel0": ["publish"]},
            {"channel0": ["publish"]},
        ),
        (
            {"cansubscribe:*": ["subscribe"]},
            {"*": ["subscribe"]},
            {"cansubscribe:*": ["subscribe"]},
        ),
        (
            {"cansubscribe:check": ["subscribe"]},
            {"cansubscribe:*": ["subscribe"]},
            {"cansubscribe:check": ["subscribe"]},
        ),
        ({"testchannelx": ["publish"]}, {"testchannel": ["publish"]}, {}),
        ({"channel0": ["publish"]}, {"channel0": ["subscribe"]}, {}),
        # A request for everything is the key's own capability.
        ({"[*]*": ["*"]}, FULL, FULL),
        ({"[*]*": ["*"]}, {"a": ["publish"], "b:*": ["*"]}, {"a": ["publish"], "b:*": ["*"]}),
        ({"*": ["*"]}, {"[*]*": ["*"]}, FULL),
        # Operations gather per resource over all pairs, and "*" swallows the rest.
        (
            {"a": ["publish"], "*": ["subscribe"]},
            {"a": ["*"]},
            {"a": ["publish", "subscribe"]},
        ),
        ({"a": ["*"], "*": ["publish"]}, {"a": ["*"]}, {"a": ["*"]}),
        # Neither covers the other, yet they share channels: exactly those are left.
        ({"foo:*:baz": ["*"]}, {"foo:bar:*": ["*"]}, {"foo:bar:baz": ["*"]}),
        ({"[*]foo": ["publish"]}, FULL, {"foo": ["publish"]}),
        ({"[meta]*": ["subscribe"]}, FULL, {}),
        ({"[meta]*": ["subscribe"]}, {"[*]log": ["*"]}, {"[meta]log": ["subscribe"]}),
        ({"ns": ["publish"]}, {"ns:*": ["publish"]}, {}),
    ],
)
def test_intersection(
    request_: dict[str, list[str]], key: dict[str, list[str]], expected: dict[str, list[str]]
) -> None:
    assert listing(intersect(parse(request_), parse(key))) == expected
    assert listing(intersect(parse(key), parse(request_))) == expected


def test_crossing_wildcards_cannot_multiply_without_bound() -> None:
    rows = parse({f"a{n}:*": ["publish"] for n in range(RESOURCES_MAX)})
    columns = parse({f"*:b{n}": ["publish"] for n in range(RESOURCES_MAX)})
    assert intersect(rows, parse({"*": ["*"]})) == rows
    with pytest.raises(BadRequest, match="shares more than") as refusal:
        intersect(rows, columns)
    assert refusal.value.code == 40000


SEGMENTS = st.sampled_from(["a", "b", "*", "a*", ""])
NAMES = st.lists(SEGMENTS, min_size=1, max_size=4).map(":".join).filter(bool)
RESOURCES = st.builds(str.__add__, st.sampled_from(["", "[*]", "[meta]", "[filter]"]), NAMES)
OPERATION_LISTS = st.one_of(
    st.just(["*"]),
    st.lists(st.sampled_from(["publish", "subscribe", "stats"]), min_size=1, max_size=3),
)
CAPABILITIES = st.dictionaries(RESOURCES, OPERATION_LISTS, max_size=5).map(parse)
CHANNELS = st.builds(str.__add__, st.sampled_from(["", "[meta]", "[filter=x]", "[?a=b]"]), NAMES)
ASKED = st.sampled_from(["publish", "subscribe", "stats", "history"])


@given(CAPABILITIES, CAPABILITIES, CHANNELS, ASKED)
def test_an_intersection_permits_exactly_what_both_permit(
    left: Capability, right: Capability, channel: str, operation: str
) -> None:
    both = left.permits(operation, channel) and right.permits(operation, channel)
    assert intersect(left, right).permits(operation, channel) is both
    assert intersect(right, left).permits(operation, channel) is both


@given(CAPABILITIES, CAPABILITIES)
def test_an_intersection_is_a_capability_and_intersecting_again_changes_nothing(
    left: Capability, right: Capability
) -> None:
    shared = intersect(left, right)
    assert parse(str(shared)) == shared
    assert str(shared) == str(intersect(right, left))
    if shared.permits_app_wide("stats"):
        assert left.permits_app_wide("stats")
        assert right.permits_app_wide("stats")


@given(CAPABILITIES)
def test_everything_is_the_identity_and_nothing_is_zero(capability: Capability) -> None:
    assert intersect(capability, EVERYTHING) == capability
    assert not intersect(capability, parse({}))


# An independent matcher, straight from the language's definition: a resource as an expression.
@given(RESOURCES, CHANNELS)
def test_matching_agrees_with_a_regular_expression(resource: str, channel: str) -> None:
    def expression(name: str) -> str:
        head, _, last = name.rpartition(":")
        parts = [*(head.split(":") if head or name.startswith(":") else []), last]
        ends = {"*": "[^:]*"}
        patterns = [ends.get(part, re.escape(part)) for part in parts[:-1]]
        patterns.append(".*" if parts[-1] == "*" else re.escape(parts[-1]))
        return ":".join(patterns)

    qualifier, name = re.fullmatch(r"(?:\[(.*?)\])?(.*)", resource).groups()  # type: ignore[union-attr]
    bracket, proper = re.fullmatch(r"(?:\[(.*?)\])?(.*)", channel).groups()  # type: ignore[union-attr]
    kind = {"filter=x": "filter", "?a=b": None}.get(bracket, bracket)
    expected = qualifier in ("*", kind) and re.fullmatch(expression(name), proper) is not None
    assert parse({resource: ["publish"]}).permits("publish", channel) is expected
