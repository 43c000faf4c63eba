"""Filters: how they are written, what they say of messages, and what they refuse to cost."""

import base64
import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.channels.channel_name import parse
from broker.channels.message_filter import (
    DEPTH_MAX,
    EXPRESSION_CHARS_MAX,
    FILTERS_KEPT,
    FUNCTIONS_MAX,
    NODES_MAX,
    MessageFilter,
    message_filter,
)
from broker.errors import BadRequest
from broker.messages.message import Message

ICE_CREAM = 'name == `"ice-cream"` && headers.flavor == `"strawberry"` && headers.cost < `50`'
EITHER = 'headers.flavor == `"strawberry"` || headers.flavor == `"chocolate"`'
FILTERED = 'name == `"filtered"` && headers.number == `26095`'
# Of Python, for each node of an expression, whatever the message holds.
LINES_PER_NODE = 60


def message(name: str | None = None, client_id: str | None = None, **headers: Any) -> Message:
    return Message(
        name=name, client_id=client_id, data="...", extras={"headers": headers} if headers else None
    )


def encoded(expression: str) -> str:
    """As SDKs do (RTS5a1)."""
    return base64.b64encode(expression.encode()).decode()


def matches(expression: str, *messages: Message) -> list[bool]:
    found = message_filter(encoded(expression))
    return [found.matches(each) for each in messages]


def refusal(written: str) -> str:
    with pytest.raises(BadRequest, match="invalid filter: ") as refused:
        message_filter(written)
    assert (refused.value.code, refused.value.status) == (40000, 400)
    assert len(refused.value.message) < 300
    return refused.value.message


def test_the_examples_of_ably_s_documentation() -> None:
    strawberry = message("ice-cream", flavor="strawberry", cost=35, temp=3)
    dear = message("ice-cream", flavor="strawberry", cost=50, temp=3)
    chocolate = message("sorbet", flavor="chocolate")
    plain = message("ice-cream")
    assert matches(ICE_CREAM, strawberry, dear, chocolate, plain) == [True, False, False, False]
    assert matches(EITHER, strawberry, dear, chocolate, plain) == [True, True, True, False]


def test_the_filter_of_ably_js_s_tests() -> None:
    headers: list[dict[str, Any]] = [
        {"name": "Lorem Choo", "number": 26095, "bool": True},
        {"name": "John Bull", "number": 26095, "bool": False},
        {"name": "John Bull", "number": 12345, "bool": False},
    ]
    given = [Message(name="filtered", extras={"headers": each}) for each in headers]
    assert matches(FILTERED, *given) == [True, True, False]
    assert matches(FILTERED, message("filtered"), message("end")) == [False, False]


@pytest.mark.parametrize(
    "sent",
    [
        f"[filter={encoded(ICE_CREAM)}]scoops-kiosk",
        f"[filter={encoded(ICE_CREAM)}?rewind=1]scoops-kiosk",
        f"[filter={encoded(ICE_CREAM).rstrip('=')}]scoops-kiosk",
        f"[filter={ICE_CREAM}]scoops-kiosk",
        f"[filter={ICE_CREAM}?rewind=1]scoops-kiosk",
    ],
)
def test_every_spelling_in_a_channel_name(sent: str) -> None:
    name = parse(sent)
    assert name.name == "scoops-kiosk"
    found = message_filter(name.expression or "")
    assert found.matches(message("ice-cream", flavor="strawberry", cost=1))
    assert not found.matches(message("ice-cream", flavor="strawberry", cost=51))


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_both_alphabets_and_all_of_unicode(encode: Any) -> None:
    expression = "headers.\"größe?\" == '🌊~~>>??'"
    written = encode(expression.encode()).decode()
    assert not set("+/-_").isdisjoint(written)
    assert message_filter(written).matches(message(**{"größe?": "🌊~~>>??"}))
    assert not message_filter(written).matches(message(**{"größe?": "🌊"}))


@pytest.mark.parametrize(
    ("expression", "true"),
    [
        ("headers", {"a": 1}),
        ("headers.a", {"a": "x"}),
        ("headers.a", {"a": 0}),
        ("headers.a", {"a": True}),
        ("!(headers.a)", {"a": ""}),
        ("!(headers.a)", {"a": False}),
        ("!(headers.a)", {"a": None}),
        ("!(headers.a)", {}),
        ("headers.a == `true`", {"a": True}),
        ("headers.a != `true`", {"a": 1}),
        ("headers.a == `1.5`", {"a": 1.5}),
        ("headers.a == 'x'", {"a": "x"}),
        ("headers.a == `x`", {"a": "x"}),
        ("headers.a == `null`", {}),
        ("headers.\"a-b\" == 'x'", {"a-b": "x"}),
        ("headers.a >= `5` && headers.a <= `5`", {"a": 5}),
        ("(headers.a || headers.b) == 'x'", {"b": "x"}),
        ("contains(['x', 'y'], headers.a)", {"a": "y"}),
        ('contains(`["x", "y"]`, headers.a)', {"a": "y"}),
        ("contains(headers.a, 'bc')", {"a": "abcd"}),
        ("contains(keys(headers), 'b')", {"a": 1, "b": 2}),
        ("contains(values(headers), `2`)", {"a": 1, "b": 2}),
        ("starts_with(headers.a, 'ab') && ends_with(headers.a, 'cd')", {"a": "abcd"}),
        ("length(headers) == `2`", {"a": 1, "b": 2}),
        ("length(headers.a) > `3`", {"a": "abcd"}),
        ("type(headers.a) == 'number'", {"a": 1}),
        ("not_null(headers.a, headers.b) == `2`", {"b": 2}),
        ("to_number(headers.a) > `9`", {"a": "10"}),
        ("abs(headers.a) == ceil(headers.b) && floor(headers.b) == `1`", {"a": -2, "b": 1.5}),
        ("headers | a == 'x'", {"a": "x"}),
        ("headers.contains(a, 'x')", {"a": "x"}),
    ],
)
def test_what_is_true(expression: str, true: dict[str, Any]) -> None:
    assert matches(expression, message(**true)) == [True]


@pytest.mark.parametrize(
    "expression",
    [
        "nothing",
        "headers.nothing",
        "headers.a.b.c",
        "name.a",
        "`false`",
        "`null`",
        "`[]`",
        "''",
        "true",
        "data == '...'",
        "extras",
        'name == "orders"',  # another field; a string is in single quotes or backticks
        "!headers.nothing",  # (!headers).nothing, everywhere; what is meant is !(headers.nothing)
    ],
)
def test_what_is_never_true(expression: str) -> None:
    assert matches(expression, message("orders", a="x"), message("x")) == [False, False]


@pytest.mark.parametrize("headers", [None, {}, {"a": None}])
def test_messages_without_headers(headers: dict[str, Any] | None) -> None:
    bare = [Message(), Message(extras={}), Message(extras={"headers": headers})]
    assert matches("headers.a == 'x'", *bare) == [False] * 3
    assert matches("!(headers.a)", *bare) == [True] * 3
    assert matches("headers || `true`", *bare[:2]) == [True, True]


def test_who_published_may_be_asked() -> None:
    given = message(client_id="bob"), message(client_id="eve"), message()
    assert matches("clientId == 'bob'", *given) == [True, False, False]


@pytest.mark.parametrize(
    "expression",
    [
        "contains(headers.a, 'x')",
        "length(headers.a) > `0`",
        "starts_with(headers.a, 'x')",
        "contains(name, `1`)",
        "keys(name)",
        "abs(name)",
        "!contains(headers.a, 'x')",
        "ceil(to_number(headers.far))",
    ],
)
def test_a_type_that_a_function_does_not_take_does_not_match(expression: str) -> None:
    assert matches(expression, message("orders", a=1, far="inf")) == [False]


@pytest.mark.parametrize("order", ["<", "<=", ">", ">="])
def test_a_string_and_a_number_have_no_order(order: str) -> None:
    given = message("urgent", cost="high"), message("other", cost="high"), message("urgent", cost=1)
    expression = f"headers.cost {order} `50` || name == 'urgent'"
    assert matches(expression, *given) == [True, False, True]
    assert matches(f"!(headers.cost {order} `50`)", given[0]) == [True]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("name ==", "Invalid jmespath expression at character 7"),
        ("name = 'x'", "Unknown token '=' at character"),
        ("(name == 'x'", "at character"),
        ("name == 'x", "Unclosed ' delimiter at character"),
        ('name == `"`', "Bad token"),
        ("name name", "at character"),
        ("f(", "at character"),
        ("{a", "at character"),
        ("[0", "at character"),
        (" ", "Invalid jmespath expression at character 1"),
    ],
)
def test_what_is_no_expression(expression: str, reason: str) -> None:
    assert reason in refusal(expression)
    assert reason in refusal(encoded(expression))


@pytest.mark.parametrize("written", ["name", "A", "====", "=", "/w==", "gICA"])
def test_what_is_no_base64_of_an_expression(written: str) -> None:
    refusal(written)


def test_an_empty_expression() -> None:
    assert "it is empty" in refusal("")


@pytest.mark.parametrize(
    ("expression", "construct"),
    [
        ("headers.*", "value projection"),
        ("*", "value projection"),
        ("values(headers)[*]", "projection"),
        ("values(headers)[]", "projection"),
        ("values(headers)[0:2]", "projection"),
        ("values(headers)[?@ == 'x']", "filter projection"),
        ("values(headers)[0]", "index expression"),
        ("{a: name}", "multi select dict"),
        ("@", "current"),
        ("headers | [@, @]", "current"),
        ("contains(values(headers), &name)", "expref"),
        ("map(&name, values(headers))", ""),
        ("sort_by(values(headers), &name)", ""),
        ("to_string(headers)", "function to_string()"),
        ("join(',', values(headers))", "function join()"),
        ("merge(headers, headers)", "function merge()"),
        ("sort(values(headers))", "function sort()"),
        ("nonsense(name)", "function nonsense()"),
    ],
)
def test_what_a_filter_may_not_use(expression: str, construct: str) -> None:
    assert f"a filter has no {construct}" in refusal(encoded(expression))


@pytest.mark.parametrize(
    "expression", ["contains(name)", "length()", "not_null()", "type(name, name)", "keys(a, b, c)"]
)
def test_functions_with_the_wrong_number_of_arguments(expression: str) -> None:
    assert "arguments, not" in refusal(encoded(expression))


def either(count: int) -> str:
    """Of 2 nodes for every alternative, and one deep."""
    return "||".join(["a"] * count)


@pytest.mark.parametrize(
    ("within", "beyond", "reason"),
    [
        (either(DEPTH_MAX), either(DEPTH_MAX + 1), "deep"),
        ("!" * (DEPTH_MAX - 1) + "a", "!" * DEPTH_MAX + "a", "deep"),
        (
            f"[{','.join('a' * (NODES_MAX - 1))}]",
            f"[{','.join('a' * NODES_MAX)}]",
            "parts",
        ),
        (
            f"[{','.join(['keys(a)'] * FUNCTIONS_MAX)}]",
            f"[{','.join(['keys(a)'] * (FUNCTIONS_MAX + 1))}]",
            "functions",
        ),
        (
            f"'{'x' * (EXPRESSION_CHARS_MAX - 2)}'",
            f"'{'x' * (EXPRESSION_CHARS_MAX - 1)}'",
            "characters",
        ),
    ],
    ids=["alternatives", "nesting", "nodes", "functions", "characters"],
)
def test_bounds(within: str, beyond: str, reason: str) -> None:
    assert message_filter(encoded(within))
    assert reason in refusal(encoded(beyond))


@pytest.mark.parametrize("opening", ["(", "[", "!", "f(", "{a:", "a[?", "a|", "&", "@.["])
def test_deep_nesting_is_refused_by_whoever_notices(opening: str) -> None:
    refusal(encoded((opening * EXPRESSION_CHARS_MAX)[:EXPRESSION_CHARS_MAX]))
    refusal(encoded(opening * 5))


@pytest.mark.parametrize("literal", ["[[]]", '{"a": {}}', '[{"a": 1}]', "[" * 900 + "]" * 900])
def test_literals_are_flat_as_headers_are(literal: str) -> None:
    assert "a literal" in refusal(encoded(f"headers == `{literal}`"))


@pytest.mark.parametrize(
    "expression",
    [
        "|".join(["[@,@]"] * 30),
        "|".join(["[@,@][]"] * 30),
        "|".join(["[@,@]"] * 15) + "==" + "|".join(["[@,@]"] * 15),
        "headers" + ".{a:@,b:@}" * 20,
        "headers.*" * 20,
        "to_string([" * 20 + "@" + "])" * 20,
        "[]" * 100,
    ],
)
def test_expressions_that_multiply_what_they_are_given(expression: str) -> None:
    refusal(encoded(expression))


def test_filters_are_kept_and_no_more_than_so_many() -> None:
    message_filter.cache_clear()
    assert message_filter(ICE_CREAM) is message_filter(ICE_CREAM)
    for number in range(FILTERS_KEPT + 5):
        message_filter(f"headers.a == `{number}`")
    assert message_filter.cache_info().currsize == FILTERS_KEPT


fields = st.sampled_from(["name", "clientId", "headers", "headers.a", 'headers."b c"', "x.y"])
literals = st.sampled_from(["`1`", "`true`", "'x'", "`null`", '`[1, "x"]`', "`{}`"])
functions = st.sampled_from(["contains", "length", "keys", "values", "type", "not_null", "abs"])
builders = st.sampled_from(["to_string", "map", "join", "merge", "sort"])


def larger(smaller: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    many = st.lists(smaller, min_size=1, max_size=4).map(", ".join)
    return st.one_of(
        st.builds("{} {} {}".format, smaller, st.sampled_from(["==", "<", "!="]), smaller),
        st.builds("({} {} {})".format, smaller, st.sampled_from(["&&", "||", "|"]), smaller),
        st.builds("!{}".format, smaller),
        st.builds("[{}]".format, many),
        st.builds("{}({})".format, functions, many),
        st.builds("{}.[{}]".format, fields, many),
    )


def hostile(smaller: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        larger(smaller),
        st.builds("{}[{}]".format, smaller, st.sampled_from(["", "*", "0", "::-1", "?@"])),
        st.builds("{}.*".format, smaller),
        st.builds("{{a: {}, b: {}}}".format, smaller, smaller),
        st.builds("{}(&{}, {})".format, builders, smaller, smaller),
        st.builds("({}) | [@, @]".format, smaller),
    )


allowed = st.recursive(fields | literals, larger, max_leaves=60)
anything = st.recursive(fields | literals | st.just("@"), hostile, max_leaves=60)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False))
given_headers = st.none() | st.dictionaries(
    st.sampled_from(["a", "b c", "d"]), scalars | st.text(max_size=5)
)
messages = st.builds(
    lambda name, headers: Message(name=name, extras={"headers": headers}),
    st.none() | st.text(max_size=5),
    given_headers,
)


def filter_or_none(written: str) -> MessageFilter | None:
    try:
        return message_filter(written)
    except BadRequest:
        return None


@given(anything | allowed, messages)
def test_any_expression_is_refused_or_answers(expression: str, about: Message) -> None:
    found = filter_or_none(encoded(expression))
    if found is not None:
        assert found.matches(about) in (True, False)


@given(st.text(max_size=60) | st.text(alphabet="ab01`'\"\\[]{}()*?&|!=<>.,:@- ", max_size=40))
def test_any_text_is_refused_or_answers(text: str) -> None:
    for written in (text, encoded(text)):
        found = filter_or_none(written)
        if found is not None:
            assert found.matches(message("x", a="y")) in (True, False)


def lines(found: MessageFilter, about: Message) -> int:
    """How many lines of Python an answer takes: what it costs, on any machine."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        found.matches(about)
    finally:
        sys.settrace(before)
    return count


LARGE = message("x" * 30_000, a="y" * 1_000, **{f"header {number}": 1 for number in range(3_000)})


@given(allowed)
def test_an_answer_takes_so_many_lines_a_node_whatever_the_message(expression: str) -> None:
    found = filter_or_none(encoded(expression))
    if found is not None:
        nodes = len(expression)  # there is no node without a character
        assert lines(found, LARGE) <= LINES_PER_NODE * min(nodes, NODES_MAX)


def test_the_dearest_filter_takes_so_many_lines() -> None:
    calls = ["contains(values(headers), `2`)"] * (FUNCTIONS_MAX // 2)
    compared = ["headers.a != `1`"] * 22
    found = message_filter(encoded(f"[{','.join(calls + compared)}] == headers"))
    assert lines(found, LARGE) <= LINES_PER_NODE * NODES_MAX
