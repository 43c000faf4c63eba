"""The first request head, without a socket."""

import random

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


def test_heads_are_judged_as_h11_alone_judges_them() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    valid = 0
    for _ in range(5000):
        head = _varied(chance)
        expected = _judged(head)
        assert _parsed(head) == expected, head
        valid += expected is not None
    assert 500 < valid < 4500


LINES = (
    b"Host: x|Content-Length: 5|Content-Length: 5, 5|Transfer-Encoding: chunked|"
    b"Transfer-Encoding: gzip|Connection:close| folded|\tfolded|no colon|:x|A:|A: \t|A : x|"
    b"A: x \t|A: x:y\ty|A: \xe4|A: x\x00|A: x\ry|A: x\x0b|A: x\x85|A: \x0cx|a(b): x|"
    b"Expect: 100-continue"
).split(b"|")
STARTS = (
    b"GET / HTTP/1.1|GET / HTTP/1.0|POST /a?b=c HTTP/1.1|GET /  HTTP/1.1|GET /| GET / HTTP/1.1|"
    b"GET / HTTP/1.1 |G(T / HTTP/1.1|GET /\xe4 HTTP/1.1|GET /\t HTTP/1.1|GET / http/1.1|"
    b"CONNECT x:1 HTTP/1.1|GET / HTTP/1.12"
).split(b"|")


def _varied(chance: random.Random) -> bytes:
    """Often a good one."""
    start = chance.choice(STARTS) if chance.random() < 0.3 else STARTS[chance.randrange(3)]
    lines = [start, b"Host: x", *chance.choices(LINES, k=chance.choice([0, 1, 1, 2]))]
    if chance.random() < 0.1:
        del lines[1]
    newlines = [
        chance.choice([b"\n", b"\r\r\n"]) if chance.random() < 0.03 else b"\r\n" for _ in lines
    ]
    return b"".join(map(b"".join, zip(lines, newlines, strict=True))) + b"\r\n"


def _parsed(head: bytes) -> h11.Request | None:
    try:
        return RequestHead(ServerSettings()).feed(head)
    except BadRequest:
        return None


def _judged(head: bytes) -> h11.Request | None:
    judge = h11.Connection(h11.SERVER)
    judge.receive_data(head)
    try:
        request = judge.next_event()
    except h11.RemoteProtocolError:
        return None
    return request if isinstance(request, h11.Request) else None


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
