"""What a message becomes: mixed with a change, grown by a fragment."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import BadRequest
from broker.interactions.state import grown, mixed
from broker.messages.message import Message

WHOLE = Message(
    id="i", name="n", data="d", encoding="utf-8", client_id="c", connection_id="k", extras={"a": 1}
)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"name": "x"}, {"name": "x"}),
        ({"name": ""}, {"name": ""}),
        ({"extras": {"b": 2}}, {"extras": {"b": 2}}),
        ({"extras": {}}, {"extras": {}}),
        ({"data": "x"}, {"data": "x", "encoding": None}),
        ({"data": ""}, {"data": "", "encoding": None}),
        ({"data": b"x", "encoding": "foo"}, {"data": b"x", "encoding": "foo"}),
        ({"encoding": "foo"}, {}),
        ({"id": "x", "client_id": "x", "connection_id": "x"}, {}),
    ],
)
def test_a_change_replaces_what_it_gives(change: dict[str, Any], expected: dict[str, Any]) -> None:
    """And nothing of what names the message and its publisher; data and encoding are one."""
    fields = {name: getattr(WHOLE, name) for name in Message.__struct_fields__}
    assert mixed(WHOLE, Message(**change)) == Message(**{**fields, **expected})


texts = st.lists(st.text(), min_size=1) | st.lists(st.binary(), min_size=1)


@given(texts)
def test_fragments_make_the_whole(parts: list[Any]) -> None:
    message = Message(data=parts[0])
    for part in parts[1:]:
        message = grown(message, Message(data=part))
    assert message == Message(data=type(parts[0])().join(parts))


def test_a_fragment_may_replace_name_and_extras() -> None:
    found = grown(WHOLE, Message(name="x", data="y", encoding="utf-8", extras={"b": 2}))
    assert (found.name, found.data, found.extras) == ("x", "dy", {"b": 2})
    assert grown(WHOLE, Message(name="x")).data == "d"


def test_what_had_no_data_begins_with_the_fragment() -> None:
    found = grown(Message(name="n"), Message(data=b"x", encoding="foo"))
    assert found == Message(name="n", data=b"x", encoding="foo")


@pytest.mark.parametrize(
    ("message", "fragment"),
    [
        ({"data": "x"}, {"data": b"x"}),
        ({"data": b"x"}, {"data": "x"}),
        ({"data": "x"}, {"data": "x", "encoding": "utf-8"}),
        ({"data": "x", "encoding": "utf-8"}, {"data": "x"}),
        ({"data": "{}", "encoding": "json"}, {"data": "{}", "encoding": "json"}),
        *(
            ({"data": b"x", "encoding": encoding}, {"data": b"x", "encoding": encoding})
            for encoding in ("utf-8/cipher+aes-128-cbc", "json/utf-8/cipher+aes-256-cbc")
        ),
    ],
)
def test_what_does_not_go_together(message: dict[str, Any], fragment: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        grown(Message(**message), Message(**fragment))
    assert caught.value.code == 40013
