"""The first request head, without a socket."""

import h11
import pytest

from api.request_head import RequestHead, head_bytes_max, is_websocket_upgrade
from api.settings import ServerSettings
from broker.errors import BadRequest

SETTINGS = ServerSettings(url_bytes_max=100, header_bytes_max=200)
LINE = b"GET /x HTTP/1.1\r\n"


def parse(data: bytes) -> h11.Request | None:
    return RequestHead(SETTINGS).feed(data)


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_is_whole_at_the_same_byte_as_for_h11(newline: bytes) -> None:
    data = b"POST /x HTTP/1.1\r\nHost: x\r\n\r\n".replace(b"\r\n", newline)
    head, judge = RequestHead(SETTINGS), h11.Connection(h11.SERVER)
    for index in range(len(data)):
        judge.receive_data(data[index : index + 1])
        judged = judge.next_event()
        assert (head.feed(data[index : index + 1]) is not None) == (judged is not h11.NEED_DATA)
    assert head.received == data


def test_keeps_what_follows_the_head() -> None:
    head = RequestHead(SETTINGS)
    assert head.feed(LINE + b"Host: x\r\n\r\nbody") is not None
    assert head.received.endswith(b"body")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01", 400),
        (b"\r\n", 400),
        (b"GET /" + b"u" * 200, 414),
        (b"GET /" + b"u" * 200 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (LINE + b"A: " + b"h" * 200, 431),
        (LINE + b"Host: x\r\n" + b"A: " + b"h" * 200 + b"\r\n\r\n", 431),
        (b"GET /x HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /x\r\nHost: x\r\n\r\n", 400),
    ],
)
def test_refuses(data: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse(data)
    assert refusal.value.status == status


def test_never_holds_more_than_its_bound() -> None:
    head = RequestHead(SETTINGS)
    endless = LINE + b"A: " + b"h" * 1_000
    with pytest.raises(BadRequest):
        any(head.feed(endless[index : index + 1]) for index in range(len(endless)))
    assert len(head.received) <= head_bytes_max(SETTINGS) + 1


def test_a_large_body_with_the_head_is_no_header() -> None:
    assert parse(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n" + bytes(9_000))


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        (b"GET", [b"Connection: Upgrade", b"Upgrade: websocket"], True),
        (b"GET", [b"Connection: keep-alive, UPGRADE", b"Upgrade: WebSocket"], True),
        (b"GET", [b"Connection: keep-alive", b"Connection: upgrade", b"Upgrade: websocket"], True),
        (b"POST", [b"Connection: Upgrade", b"Upgrade: websocket"], False),
        (b"GET", [b"Connection: keep-alive", b"Upgrade: websocket"], False),
        (b"GET", [b"Connection: Upgrade", b"Upgrade: h2c"], False),
        (b"GET", [], False),
    ],
)
def test_knows_a_websocket_upgrade(method: bytes, headers: list[bytes], expected: bool) -> None:
    request = parse(b"\r\n".join([method + b" / HTTP/1.1", b"Host: x", *headers, b"", b""]))
    assert request is not None
    assert is_websocket_upgrade(request) is expected
