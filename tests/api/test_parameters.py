"""Query parameters as types: what is read, what is refused and how it is said."""

from typing import Annotated, Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Meta, field

from api.parameters import Count, Params, Time, read, time_ms, version
from broker.errors import BadRequest

NUMBERS = [("0", 0), ("7", 7), ("007", 7), ("9" * 15, int("9" * 15))]
NO_NUMBERS = ["-1", "+1", "1.0", "1e3", " 5", "5 ", "0x1", "1_0", "٣", "²", "9" * 16, "abc", "null"]
TRUE = ["true", "True", "TRUE", "1"]
FALSE = ["false", "False", "FALSE", "0"]


class Wanted(Params, frozen=True, kw_only=True):
    number: int = 5
    count: Count = 100
    flag: bool = False
    text: str = "default"
    maybe: str | None = None
    choice: Literal["one", "two"] | None = None
    moment: Time = None
    later: Annotated[Time, Meta(description="with a default")] = "now"
    two_words: Annotated[str, Meta(max_length=3)] = ""
    as_it_is: str | None = field(default=None, name="as_it_is")


def why(**args: str) -> str:
    with pytest.raises(BadRequest) as caught:
        read(Wanted, args)
    assert (caught.value.code, caught.value.status) == (40003, 400)
    return caught.value.message


@pytest.mark.parametrize("args", [{}, {"number": "", "flag": "", "moment": "", "twoWords": ""}])
def test_absent_and_empty_are_the_default(args: dict[str, str]) -> None:
    assert read(Wanted, args) == Wanted()


def test_what_no_field_names_is_ignored() -> None:
    assert read(Wanted, {"other": "x", "two_words": "too long", "asItIs": "x"}) == Wanted()


def test_names() -> None:
    found = read(Wanted, {"twoWords": "abc", "as_it_is": "x"})
    assert (found.two_words, found.as_it_is) == ("abc", "x")


@pytest.mark.parametrize(("text", "number"), NUMBERS)
def test_numbers(text: str, number: int) -> None:
    found = read(Wanted, {"number": text, "moment": text})
    assert (found.number, found.moment) == (number, number)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number(text: str) -> None:
    assert why(number=text).startswith("number: ")
    assert why(moment=text).startswith("moment: ")


def test_bounds() -> None:
    assert why(count="0").startswith("count: ")
    assert why(twoWords="abcd").startswith("twoWords: ")
    assert read(Wanted, {"count": "1", "number": "0"}) == Wanted(count=1, number=0)


@pytest.mark.parametrize("name", ["moment", "later"])
def test_a_time_is_a_number_or_now(name: str) -> None:
    assert getattr(read(Wanted, {name: "now"}), name) == "now"
    assert getattr(read(Wanted, {name: "1"}), name) == 1
    assert why(**{name: "Now"}).startswith(f"{name}: ")
    assert [time_ms(time, 7) for time in ("now", 3, None)] == [7, 3, None]  # type: ignore[arg-type]


@pytest.mark.parametrize(("texts", "value"), [(TRUE, True), (FALSE, False)])
def test_booleans(texts: list[str], value: bool) -> None:
    assert {read(Wanted, {"flag": text}).flag for text in texts} == {value}


@pytest.mark.parametrize("text", ["yes", "no", "on", "2", "t", "truE ", "\u0130"])
def test_what_is_no_boolean(text: str) -> None:
    assert why(flag=text).startswith("flag: ")


def test_choices() -> None:
    assert read(Wanted, {"choice": "two"}).choice == "two"
    for text in ("Two", "three", "1"):
        assert why(choice=text).startswith("choice: ")


@pytest.mark.parametrize("text", ["true", "1", "null", "now", "01", " "])
def test_text_is_text(text: str) -> None:
    found = read(Wanted, {"text": text, "maybe": text})
    assert (found.text, found.maybe) == (text, text)


def test_the_parameter_is_named_whatever_was_in_it() -> None:
    """msgspec's message repeats the value, which may look like the place that it names."""
    for text in ("x` - at `$.other", " - at `$.other`", "`$.other`"):
        assert why(choice=text).startswith("choice: ")
    assert "`" not in why(choice="`")


args = st.dictionaries(
    st.sampled_from([*Wanted.__struct_fields__, "twoWords"]),
    st.sampled_from(["1", "now", "true", "one", "-1", "x" * 9]) | st.text(max_size=5),
)


@given(args)
@example({"number": "²"})
def test_any_text_is_read_or_refused(given_args: dict[str, str]) -> None:
    refusal = None
    try:
        assert isinstance(read(Wanted, given_args), Wanted)
    except BadRequest as error:
        refusal = error
    if refusal is not None:
        assert refusal.code == 40003
        assert given_args[refusal.message.partition(": ")[0]]


@pytest.mark.parametrize(
    ("header", "parameter", "expected"),
    [
        (None, None, 0),
        ("", "", 0),
        ("3", None, 3),
        (None, "3", 3),
        ("2", "3", 2),
        ("", "3", 3),
        ("1.2", None, 1),
        (None, "1.2", 1),
        ("6", None, 6),
        ("150", None, 150),
        ("3.x", None, 3),
        ("x", "3", 0),
        ("-3", None, 0),
        (".3", None, 0),
        ("٣", None, 0),
        ("9" * 16, None, 0),
    ],
)
def test_versions(header: str | None, parameter: str | None, expected: int) -> None:
    args: dict[str, Any] = {} if parameter is None else {"v": parameter}
    assert version(header, args) == expected
