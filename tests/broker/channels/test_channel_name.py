"""The grammar of channel names: every rule of the reference, and the bounds that are ours."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.channels.channel_name import (
    NAME_CHARS_MAX,
    PARAMS_MAX,
    ChannelName,
    namespace,
    parse,
    scope,
)
from broker.errors import BadRequest


@pytest.mark.parametrize(
    ("sent", "name", "qualifier", "expression", "params"),
    [
        ("orders", "orders", None, None, {}),
        ("orders:eu:paid", "orders:eu:paid", None, None, {}),
        ("a/b c!$'\"+😀", "a/b c!$'\"+😀", None, None, {}),
        ("*", "*", None, None, {}),
        ("x]y[z", "x]y[z", None, None, {}),
        ("[meta]log", "log", "meta", None, {}),
        ("[?rewind=1]orders", "orders", None, None, {"rewind": "1"}),
        (
            "[?rewind=1&modes=a%2Cb&flag]o",
            "o",
            None,
            None,
            {"rewind": "1", "modes": "a,b", "flag": ""},
        ),
        ("[meta?rewind=2m]log", "log", "meta", None, {"rewind": "2m"}),
        ("[]orders", "orders", None, None, {}),
        ("[filter=bmFtZQ==]orders", "orders", "filter", "bmFtZQ==", {}),
        ("[filter=name == `x`?rewind=1]o", "o", "filter", "name == `x`", {"rewind": "1"}),
    ],
)
def test_names_that_are_taken(
    sent: str, name: str, qualifier: str | None, expression: str | None, params: dict[str, str]
) -> None:
    assert parse(sent) == ChannelName(sent, name, qualifier, expression, params)


@pytest.mark.parametrize(
    "sent",
    [
        "",
        ":hell",
        ":",
        "[",
        "[meta",
        "[?rewind=1",
        "[meta]",
        "[meta]:log",
        "[meta][meta]log",
        "[unknown]log",
        "[queue]jobs",
        "[META]log",
        "[filter]orders",
        "[filter=]orders",
        "[meta=x]log",
        "[=x]log",
        "two\nlines",
        "two\rlines",
        "[?a=\n]x",
        "lone\ud800surrogate",
        "x" * (NAME_CHARS_MAX + 1),
        "[filter=" + "x" * 10_000 + "]o",
        "[?" + "&".join(f"p{n}=1" for n in range(PARAMS_MAX + 1)) + "]o",
    ],
)
def test_names_that_are_refused(sent: str) -> None:
    with pytest.raises(BadRequest, match=r"^invalid channel name: ") as refusal:
        parse(sent)
    assert (refusal.value.code, refusal.value.status) == (40010, 400)


def test_the_longest_name_is_taken() -> None:
    assert parse("x" * NAME_CHARS_MAX).name == "x" * NAME_CHARS_MAX


@pytest.mark.parametrize(
    ("name", "expected"),
    [("orders", "orders"), ("orders:eu:paid", "orders"), ("orders:", "orders"), ("a.b:c", "a.b")],
)
def test_namespace_is_the_part_before_the_first_colon(name: str, expected: str) -> None:
    assert namespace(name) == parse(name).namespace == expected


def test_namespace_ignores_the_qualifier() -> None:
    assert parse("[?rewind=1]persisted:x").namespace == "persisted"


@given(st.text(alphabet="ab:[]?=&\n*% filtermeta", max_size=24))
def test_scope_agrees_with_parse_wherever_parse_takes_a_name(sent: str) -> None:
    try:
        parsed = parse(sent)
    except BadRequest:
        return
    assert scope(sent) == (parsed.qualifier, parsed.name)


@given(st.text())
def test_any_text_is_taken_or_refused_and_nothing_else(sent: str) -> None:
    with suppress(BadRequest):
        parsed = parse(sent)
        assert parsed.sent == sent
        assert sent.endswith(parsed.name)
