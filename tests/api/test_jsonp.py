"""JSON as a script that calls a function, and the names that functions may have."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.control import Control
from api.jsonp import call
from api.parameters import read
from broker.errors import BadRequest
from tests.api.any_format import called

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_it_calls_the_function_with_the_value(value: object) -> None:
    function, argument = called(call("a.b$", msgspec.json.encode(value)))
    assert function == "a.b$"
    assert json.loads(argument) == value


def test_no_line_ends_that_old_scripts_know() -> None:
    body = call("f", msgspec.json.encode({"\u2028a": "\u2029"}))
    assert body == b'/**/f({"\\u2028a":"\\u2029"});'


NAMES = ["callback", "a", "_", "$", "$.a_1.B", "jQuery.cb123", "x" * 128]
NO_NAMES = [
    "1a",
    "a.",
    ".a",
    "a..b",
    "a.1",
    "a-b",
    "a b",
    "a\n",
    "a\r\n",
    "a()",
    "alert(1)//",
    "a;b",
    "a[0]",
    "é",
    "x" * 129,
    "<script>",
    " a",
]


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    assert read(Control, {"callback": name}).callback == name


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(BadRequest, match=r"^callback: ") as caught:
        read(Control, {"callback": name})
    assert caught.value.code == 40003
