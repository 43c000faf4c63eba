"""The admin socket's language: lines, requests, replies, whatever the bytes."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.admin import protocol
from api.admin.protocol import Lines, Request
from broker.errors import BadRequest, BrokerError, NotFound


@given(st.lists(st.binary(max_size=20)), st.integers(1, 7))
def test_lines_come_out_whole_however_they_arrive(parts: list[bytes], size: int) -> None:
    wanted = [part.replace(b"\n", b"") for part in parts]
    data = b"".join(part + b"\n" for part in wanted)
    lines, found = Lines(100), []
    for begin in range(0, len(data), size):
        lines.feed(data[begin : begin + size])
        while (line := lines.next()) is not None:
            found.append(line)
    assert found == wanted


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_is_bounded(end: bytes) -> None:
    lines = Lines(10)
    lines.feed(b"x" * 11 + end)
    with pytest.raises(BadRequest, match="exceeds 10 bytes"):
        lines.next()


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_a_request_or_refused(line: bytes) -> None:
    with contextlib.suppress(BadRequest):  # and nothing else
        protocol.read_request(line)


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"{}",
        b'{"operation": 1}',
        b'{"operation": "x", "arguments": []}',
        b'{"operation": "x", "more": 1}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_request(line: bytes) -> None:
    with pytest.raises(BadRequest):
        protocol.read_request(line)


def test_a_request_survives_the_way() -> None:
    request = Request("publish", {"channel": "ünïcode", "messages": [{"data": "a\nb"}]})
    line = protocol.write_request(request)
    assert line.count(b"\n") == 1
    assert protocol.read_request(line.rstrip(b"\n")) == request


def test_errors_have_ablys_shape_and_come_back_as_they_went() -> None:
    line = protocol.write_error(NotFound("there is no app 'x'"))
    assert json.loads(line) == {
        "error": {
            "message": "there is no app 'x'",
            "code": 40400,
            "statusCode": 404,
            "href": "https://help.ably.io/error/40400",
        }
    }
    with pytest.raises(BrokerError, match="there is no app") as caught:
        protocol.read_reply(line)
    assert (caught.value.code, caught.value.status) == (40400, 404)
