"""The opening handshake without a socket, against another judge of it."""

import random

import h11
import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from api.realtime import handshake
from api.request_head import is_websocket_upgrade
from broker.errors import BadRequest

GOOD = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)
PIECES = [
    "keep-alive",
    "Upgrade",
    "websocket",
    "WebSocket/1",
    "13",
    "8",
    "chat",
    "h2c",
    "/",
    "=",
    "==",
    ",",
    ", ",
    " ,,",
    "\t",
    " ",
    "@",
    '"a"',
    "é",
    "AAAA",
    "AAAAAAAAAAAAAAAAAAAAAA==",
    "dGhlIHNhbXBsZSBub25jZQ",
    "dGhlIHNhbXBsZSBub25jZR==",
]
NAMES = [name for name, _ in GOOD] + [
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Origin",
]


def asked(*headers: tuple[str, str]) -> h11.Request:
    lines = [("Host", "x"), *headers]
    encoded = [(name.encode(), value.strip().encode("latin-1")) for name, value in lines]
    return h11.Request(method="GET", target="/", headers=encoded)


def test_the_answer_is_the_one_of_the_rfc() -> None:
    lines = handshake.answer(asked(*GOOD)).split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 101 ")
    assert sorted(lines[1:]) == [
        b"",
        b"",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        b"Upgrade: websocket",
    ]


def test_judged_as_the_library_judges() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    accepted = 0
    for _ in range(2000):
        headers = _varied(chance)
        request = asked(*headers)
        ours = _ours(request)
        assert ours == _library(request), headers
        accepted += ours is not None
    assert 200 < accepted < 1800


def _varied(chance: random.Random) -> list[tuple[str, str]]:
    headers = list(GOOD)
    for _ in range(chance.choice([0, 1, 1, 1, 2])):
        name = chance.choice(NAMES)
        value = "".join(chance.choices(PIECES, k=chance.randrange(1, 5)))
        if chance.random() < 0.3:
            value = dict(GOOD).get(name, "x") + chance.choice(
                [",", " , ,", "\t", ",x", ", Upgrade"]
            )
        if chance.random() < 0.7:
            headers = [header for header in headers if header[0] != name]
        headers.insert(chance.randrange(len(headers) + 1), (name, value))
    return headers


def _ours(request: h11.Request) -> bytes | None:
    if not is_websocket_upgrade(request):
        return None
    try:
        return handshake.answer(request).partition(b"Sec-WebSocket-Accept: ")[2].strip()
    except BadRequest:
        return None


def _library(request: h11.Request) -> bytes | None:
    headers = Headers([(name.decode(), value.decode("latin-1")) for name, value in request.headers])
    response = ServerProtocol(state=State.CONNECTING).accept(Request("/", headers))
    if response.status_code != 101:
        return None
    return response.headers["Sec-WebSocket-Accept"].encode()


@pytest.mark.parametrize(
    ("versions", "status"), [([], 400), (["13", "13"], 400), (["8"], 426), (["013"], 426)]
)
def test_another_version_is_told_from_none(versions: list[str], status: int) -> None:
    others = [header for header in GOOD if header[0] != "Sec-WebSocket-Version"]
    with pytest.raises(BadRequest) as refusal:
        handshake.answer(asked(*others, *[("Sec-WebSocket-Version", one) for one in versions]))
    assert refusal.value.status == status
