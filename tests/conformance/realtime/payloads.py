"""Data of every kind that a message or a presence member may carry."""

from typing import Any

PAYLOADS: list[Any] = [
    "text",
    "",
    "naïve \U0001f600 \u2028 ظ",
    b"bytes \x00\xff",
    b"",
    {"a": [1, 2.5, None, True], "é": {}},
    [{"b": "c"}, "d"],
    {},
    [],
    None,
]
