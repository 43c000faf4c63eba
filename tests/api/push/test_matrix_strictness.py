"""The Matrix gateway of these tests refuses what the APIs do not allow: each check, shown to fail.

A request is good but for one thing; it is made and encrypted by this file, not by the transport.
"""

import os
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.api.push.authority import Authority
from tests.api.push.matrix_gateway import (
    DUPLICATES,
    ENCRYPTED_BATCH,
    INVALID,
    NOTIFY,
    PLAIN_BATCH,
    TOO_MANY,
    MatrixGateway,
)
from tests.api.push.rig import Matrix
from tests.broker.push.gematik_client import Phone

MONTH = "2024-03"
PHONE = Phone(bytes(32), "2023-11")
DEVICE = {"app_id": "a", "pushkey": "p", "pushkey_ts": 1, "data": {}, "tweaks": {}}
Json = dict[str, Any]


def ciphertext(key: bytes, text: bytes = b"{}", spaces: int | None = None) -> str:
    padding = 1_018 - len(text) if spaces is None else spaces
    nonce = os.urandom(12)
    encryptor = Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor()
    plain = b"PNM1" + padding.to_bytes(2, "big") + b" " * padding + text
    sealed = encryptor.update(plain) + encryptor.finalize()
    return b64encode(nonce + sealed + encryptor.tag).decode()


def encrypted(**change: Any) -> Json:
    good = {
        "ciphertext": ciphertext(PHONE.key(MONTH)),
        "time_message_encrypted": MONTH,
        "key_identifier": "k",
        "prio": "high",
        "counts": {"unread": 1},
        "device": DEVICE,
    }
    return without_none({**good, **change})


def plain(**change: Any) -> Json:
    good = {"event_id": "$e", "prio": "low", "content": {}, "devices": [DEVICE]}
    return without_none({**good, **change})


def without_none(value: Json) -> Json:
    return {name: member for name, member in value.items() if member is not None}


def batch(*notifications: Json, **change: Any) -> Json:
    items = [{"id": str(number), "notification": n} for number, n in enumerate(notifications)]
    return {"notifications": [{**item, **change} for item in items]}


async def post(
    matrix: Matrix, trusted: Authority, path: str, body: Any, **more: Any
) -> httpx.Response:
    matrix.fake.phones["k"] = PHONE
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    request = {"headers": {"content-type": "application/json"}, "content": content, **more}
    async with httpx.AsyncClient(verify=trusted.client_context()) as client:
        return await client.post(matrix.gateway.url + path, **request)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (NOTIFY, {"notification": plain()}),
        ("/push/v1" + PLAIN_BATCH, batch(plain(), plain())),
        ("/push/v1" + ENCRYPTED_BATCH, batch(encrypted(), encrypted(prio=None, counts=None))),
    ],
)
async def test_what_is_good_is_taken(
    matrix: Matrix, trusted: Authority, path: str, body: Json
) -> None:
    reply = await post(matrix, trusted, path, body)
    assert reply.status_code == 200
    assert len(matrix.fake.delivered) == len(body.get("notifications", [1]))


BAD_PLAIN: list[Json] = [
    {"prio": None},
    {"prio": "urgent"},
    {"devices": None},
    {"devices": []},
    {"devices": [{**DEVICE, "url": "x"}]},
    {"devices": [{"app_id": "a", "pushkey": "p"}]},
    {"devices": [{**DEVICE, "pushkey_ts": "1"}]},
    {"devices": [{**DEVICE, "pushkey_ts": 1.5}]},
    {"devices": [{**DEVICE, "pushkey": "ü" * 257}]},
    {"devices": [{**DEVICE, "app_id": "a" * 65}]},
    {"devices": [{**DEVICE, "data": {"url": "x"}}]},
    {"counts": {}},
    {"counts": {"unread": 0}},
    {"counts": {"unread": "1"}},
    {"content": "x"},
    {"unknown": 1},
    {"device": DEVICE},
]
BAD_ENCRYPTED: list[Json] = [
    {"ciphertext": None},
    {"ciphertext": "x" * 1_403},
    {"time_message_encrypted": None},
    {"key_identifier": None},
    {"device": None},
    {"devices": [DEVICE]},
    {"device": [DEVICE]},
    {"device": {**DEVICE, "data": {"url": "x"}}},
    {"prio": "urgent"},
    {"counts": {"unread": 0}},
    {"event_id": "$e"},
    {"content": {}},
]


@pytest.mark.parametrize("change", BAD_PLAIN)
async def test_plain_notifications_that_are_refused(
    matrix: Matrix, trusted: Authority, change: Json
) -> None:
    bad = plain(**change)
    for path, body in ((NOTIFY, {"notification": bad}), ("/push/v1" + PLAIN_BATCH, batch(bad))):
        reply = await post(matrix, trusted, path, body)
        assert (reply.status_code, reply.json()["error"]) == (400, INVALID)
    assert matrix.fake.delivered == []


@pytest.mark.parametrize("change", BAD_ENCRYPTED)
async def test_encrypted_notifications_that_are_refused(
    matrix: Matrix, trusted: Authority, change: Json
) -> None:
    reply = await post(matrix, trusted, "/push/v1" + ENCRYPTED_BATCH, batch(encrypted(**change)))
    assert (reply.status_code, reply.json()["error"]) == (400, INVALID)
    assert matrix.fake.delivered == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", INVALID),
        (b"{", INVALID),
        (b"[]", INVALID),
        ({"notifications": []}, TOO_MANY),
        ({"notifications": [7]}, INVALID),
        (batch(plain(), id=7), INVALID),
        (batch(plain(), id="x" * 65), INVALID),
        (batch(plain(), id=""), INVALID),
        (batch(plain(), more=1), INVALID),
        (batch(plain(), plain(), id="x"), DUPLICATES),
        (batch(*[plain()] * 101), TOO_MANY),
    ],
)
async def test_batches_that_are_refused(
    matrix: Matrix, trusted: Authority, body: Any, error: str
) -> None:
    reply = await post(matrix, trusted, "/push/v1" + PLAIN_BATCH, body)
    assert (reply.status_code, reply.json()["error"]) == (400, error)
    assert matrix.fake.batches == []


async def test_requests_that_are_none(matrix: Matrix, trusted: Authority) -> None:
    good = {"notification": plain()}
    assert (await post(matrix, trusted, NOTIFY + "/", good)).status_code == 404
    assert (await post(matrix, trusted, "/push/v1/notify", good)).status_code == 404
    bare = await post(matrix, trusted, NOTIFY, good, headers={"content-type": "text/plain"})
    assert bare.status_code == 400
    large = {"notification": plain(content={"x": "x" * 256_000})}
    assert (await post(matrix, trusted, NOTIFY, large)).status_code == 413
    assert matrix.fake.delivered == []


def _flipped(good: str) -> str:
    raw = bytearray(b64decode(good))
    raw[500] ^= 1
    return b64encode(raw).decode()


@pytest.mark.parametrize(
    "change",
    [
        lambda: {"ciphertext": ciphertext(PHONE.key("2024-02"))},
        lambda: {"ciphertext": ciphertext(bytes(32))},
        lambda: {"ciphertext": _flipped(ciphertext(PHONE.key(MONTH)))},
        lambda: {"ciphertext": ciphertext(PHONE.key(MONTH), b"[]")},
        lambda: {"ciphertext": ciphertext(PHONE.key(MONTH), b" " * 1_000, spaces=18)},
        lambda: {"time_message_encrypted": "2024-04"},
        lambda: {"time_message_encrypted": "2023-10"},
        lambda: {"key_identifier": "another"},
    ],
)
def test_what_a_phone_cannot_read_fails_the_test(change: Callable[[], Json]) -> None:
    fake = MatrixGateway(phones={"k": PHONE})
    fake._take(encrypted(), is_encrypted=True)
    with pytest.raises((AssertionError, KeyError, ValueError)):
        fake._take(encrypted(**change()), is_encrypted=True)
