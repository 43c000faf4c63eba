"""Matrix gateways, plain and gematik's, against strict ones: what arrives, what answers mean."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from api.push.transports import Transports
from broker.push.transport import (
    BAD_CREDENTIALS,
    NO_RECIPIENT,
    PAYLOAD_REJECTED,
    SENT,
    TOKEN_INVALID,
    UNREACHABLE,
    Verdict,
)
from tests.api.push.http_gateway import Act, Answer, Reply, json_reply
from tests.api.push.matrix_gateway import NOTIFY, results
from tests.api.push.pushers import (
    DEVICE,
    KEY_IDENTIFIER,
    MONTH,
    MONTH_KEY,
    PUSHKEY,
    at_base,
    encrypted,
    plain,
    send,
)
from tests.api.push.rig import HELLO, ID, Matrix, outgoing

Of = Callable[[Matrix], dict[str, Any]]
WAYS: list[Of] = [plain, at_base, encrypted]
CONTENT = {"title": "Hello", "body": "World", "data": {"n": 7}}


async def test_a_plain_notification_arrives(matrix: Matrix, matrix_transports: Transports) -> None:
    assert await send(matrix_transports, plain(matrix, data={"platform": "ios"})) == SENT
    assert matrix.fake.delivered == [
        {
            "event_id": f"${ID}",
            "prio": "high",
            "content": CONTENT,
            "devices": [{**DEVICE, "data": {"platform": "ios"}}],
        }
    ]
    assert matrix.gateway.requests[0].path == NOTIFY


async def test_a_plain_one_at_gematiks_goes_in_a_batch(
    matrix: Matrix, matrix_transports: Transports
) -> None:
    assert await send(matrix_transports, at_base(matrix)) == SENT
    (delivered,) = matrix.fake.delivered
    assert (delivered["content"], delivered["devices"]) == (CONTENT, [DEVICE])
    assert matrix.gateway.requests[0].path == "/push/v1/notify/batch"
    assert matrix.fake.batches == [[ID]]


async def test_an_encrypted_one_is_read_by_its_phone_alone(
    matrix: Matrix, matrix_transports: Transports
) -> None:
    payload = {**HELLO, "matrix": {"counts": {"unread": 2}, "identifier": "history-1"}}
    assert await send(matrix_transports, encrypted(matrix), payload) == SENT
    assert matrix.fake.texts == [CONTENT]
    (delivered,) = matrix.fake.delivered
    ciphertext = delivered.pop("ciphertext")
    assert delivered == {
        "time_message_encrypted": MONTH,
        "key_identifier": KEY_IDENTIFIER,
        "prio": "high",
        "counts": {"unread": 2},
        "identifier": "history-1",
        "device": DEVICE,
    }
    assert len(ciphertext) == 1_404
    body = matrix.gateway.requests[0].body
    assert all(word.encode() not in body for word in ("Hello", "World", "title"))


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_base_with_and_without_its_slash(
    matrix: Matrix, matrix_transports: Transports, slash: str
) -> None:
    matrix.fake.base = "/ios/push/v1"
    url = f"{matrix.gateway.url}/ios/push/v1{slash}"
    assert await send(matrix_transports, encrypted(matrix, url=url)) == SENT
    assert matrix.gateway.requests[0].path == "/ios/push/v1/notifyEncrypted/batch"


async def test_encryption_is_never_left_out(matrix: Matrix, matrix_transports: Transports) -> None:
    """At a gateway that takes nothing encrypted, and without a key."""
    at_plain = encrypted(matrix, url=matrix.gateway.url + NOTIFY)
    without_key = await send(matrix_transports, encrypted(matrix), month_key=None)
    for result in (await send(matrix_transports, at_plain), without_key):
        assert (result.verdict, result.code) == (Verdict.REJECTED, BAD_CREDENTIALS)
        assert "encryption" in result.message
    assert matrix.gateway.requests == []


async def test_a_text_that_does_not_fit_is_rejected(
    matrix: Matrix, matrix_transports: Transports
) -> None:
    frame = len('{"a":""}')
    for length, verdict in ((1_018 - frame, Verdict.SENT), (1_019 - frame, Verdict.REJECTED)):
        payload = {"matrix": {"content": {"a": "x" * length}}}
        result = await send(matrix_transports, encrypted(matrix), payload)
        assert result.verdict is verdict
    assert result.code == PAYLOAD_REJECTED
    assert "1018" in result.message
    assert matrix.fake.texts == [{"a": "x" * (1_018 - frame)}]


@pytest.mark.parametrize("way", WAYS)
async def test_a_rejected_pushkey_is_dead(
    matrix: Matrix, matrix_transports: Transports, way: Of
) -> None:
    matrix.fake.rejected.add(PUSHKEY)
    result = await send(matrix_transports, way(matrix))
    assert (result.verdict, result.code) == (Verdict.DEAD, TOKEN_INVALID)
    assert PUSHKEY not in result.message
    assert matrix.fake.delivered == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_pushkey_that_nobody_asked_about_is_not(
    matrix: Matrix, matrix_transports: Transports, way: Of
) -> None:
    matrix.fake.earlier = ["another", "", PUSHKEY.upper(), PUSHKEY[:-1]]
    assert await send(matrix_transports, way(matrix)) == SENT


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("answer", "verdict", "code"),
    [
        (json_reply(400, {"error": "Invalid data format"}), Verdict.REJECTED, PAYLOAD_REJECTED),
        (json_reply(413, {"error": "too large"}), Verdict.REJECTED, PAYLOAD_REJECTED),
        (json_reply(422, {}), Verdict.REJECTED, PAYLOAD_REJECTED),
        (Reply(307, headers={"location": "https://elsewhere"}), Verdict.REJECTED, PAYLOAD_REJECTED),
        (json_reply(401, {"error": "mTLS"}), Verdict.MISCONFIGURED, BAD_CREDENTIALS),
        (json_reply(403, {}), Verdict.MISCONFIGURED, BAD_CREDENTIALS),
        (json_reply(404, {}), Verdict.TRANSIENT, UNREACHABLE),
        (json_reply(429, {"errcode": "M_LIMIT_EXCEEDED"}), Verdict.TRANSIENT, UNREACHABLE),
        (json_reply(500, {"error": "x"}), Verdict.TRANSIENT, UNREACHABLE),
        (json_reply(503, {"error": "x"}), Verdict.TRANSIENT, UNREACHABLE),
        (Reply(200), Verdict.TRANSIENT, UNREACHABLE),
        (Reply(200, b"<html>welcome to the hotel</html>"), Verdict.TRANSIENT, UNREACHABLE),
        (Reply(200, b"[]"), Verdict.TRANSIENT, UNREACHABLE),
        (Reply(200, b'{"rejected":{},"results":7}'), Verdict.TRANSIENT, UNREACHABLE),
        (Reply(200, b"[" * 100_000), Verdict.TRANSIENT, UNREACHABLE),
        (Reply(200, b'{"results":[' + b"x" * 2_000_000), Verdict.TRANSIENT, UNREACHABLE),
        (Act.HANG_UP, Verdict.TRANSIENT, UNREACHABLE),
        (Act.NONSENSE, Verdict.TRANSIENT, UNREACHABLE),
    ],
)
async def test_what_an_answer_means(
    matrix: Matrix,
    matrix_transports: Transports,
    way: Of,
    answer: Answer,
    verdict: Verdict,
    code: int,
) -> None:
    matrix.fake.script.then(answer)
    result = await send(matrix_transports, way(matrix))
    assert (result.verdict, result.code) == (verdict, code)
    assert not result.is_silent
    assert PUSHKEY not in result.message
    assert await send(matrix_transports, way(matrix)) == SENT


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (results({"id": ID, "status": "success"}), Verdict.SENT),
        (results({"id": ID, "status": "partial", "rejected": ["another"]}), Verdict.SENT),
        (results({"id": ID, "status": "partial", "rejected": [PUSHKEY]}), Verdict.DEAD),
        (results({"id": ID, "status": "failed", "rejected": [PUSHKEY]}), Verdict.DEAD),
        (results({"id": ID, "status": "failed", "error": PUSHKEY}), Verdict.TRANSIENT),
        (results({"id": ID, "status": "new"}), Verdict.TRANSIENT),
        (results({"id": ID, "status": ["success"]}), Verdict.TRANSIENT),
        (results({"id": ID}), Verdict.TRANSIENT),
        (results({"id": "another", "status": "success"}), Verdict.TRANSIENT),
        (results({"id": [], "status": "success"}), Verdict.TRANSIENT),
        (
            results({"id": ID, "status": "failed"}, {"id": ID, "status": "success"}),
            Verdict.TRANSIENT,
        ),
        (results(), Verdict.TRANSIENT),
        (Reply(200, b'{"results":[7,null,[],"x"]}'), Verdict.TRANSIENT),
    ],
)
@pytest.mark.parametrize("way", [at_base, encrypted])
async def test_what_is_said_of_one_item(
    matrix: Matrix, matrix_transports: Transports, way: Of, answer: Answer, verdict: Verdict
) -> None:
    matrix.fake.script.then(answer)
    result = await send(matrix_transports, way(matrix))
    assert result.verdict is verdict
    assert PUSHKEY not in result.message
    assert result.is_of_address == (verdict is Verdict.TRANSIENT), "the gateway itself is well"


@pytest.mark.parametrize(
    ("answer", "retry_ms"),
    [
        (json_reply(429, {"retry_after_ms": 2_500}), 2_500),
        (json_reply(429, {"retry_after_ms": 2_500}, **{"retry-after": "7"}), 7_000),
        (json_reply(503, {}, **{"retry-after": "7"}), 7_000),
        (json_reply(429, {"retry_after_ms": -1}), None),
        (json_reply(429, {"retry_after_ms": True}), None),
        (json_reply(429, {"retry_after_ms": "soon"}), None),
        (json_reply(429, {"retry_after_ms": 10**15}), 24 * 3_600_000),
        (json_reply(500, {"error": [], "retry_after_ms": {}}), None),
    ],
)
@pytest.mark.parametrize("way", WAYS)
async def test_when_to_come_again(
    matrix: Matrix, matrix_transports: Transports, way: Of, answer: Answer, retry_ms: int | None
) -> None:
    matrix.fake.script.then(answer)
    result = await send(matrix_transports, way(matrix))
    assert (result.verdict, result.retry_after_ms) == (Verdict.TRANSIENT, retry_ms)


async def test_only_known_errors_are_repeated(
    matrix: Matrix, matrix_transports: Transports
) -> None:
    for error in ("Invalid data format", f"{PUSHKEY} is bad"):
        matrix.fake.script.then(json_reply(400, {"error": error}))
        result = await send(matrix_transports, plain(matrix))
        assert (error in result.message) == (error == "Invalid data format")


@pytest.mark.parametrize("way", WAYS)
async def test_every_attempt_has_the_same_id(
    matrix: Matrix, matrix_transports: Transports, way: Of
) -> None:
    matrix.fake.script.then(json_reply(503, {}))
    await send(matrix_transports, way(matrix))
    assert await send(matrix_transports, way(matrix)) == SENT
    assert all(ID.encode() in request.body for request in matrix.gateway.requests)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"appId": None}, NO_RECIPIENT),
        ({"appId": ""}, NO_RECIPIENT),
        ({"pushkey": 7}, NO_RECIPIENT),
        ({"url": None}, TOKEN_INVALID),
        ({"url": "https://gateway.example/"}, TOKEN_INVALID),
        ({"url": "https://gateway.example/_matrix/push/v1/notify/"}, TOKEN_INVALID),
        ({"url": "https://gateway.example/_matrix/push/v1/notify2"}, TOKEN_INVALID),
        ({"url": "https://gateway.example/push/v1/?a=b"}, TOKEN_INVALID),
        ({"url": "https://gateway.example/push/v2/"}, TOKEN_INVALID),
        ({"url": "http://gateway.example/push/v1/"}, TOKEN_INVALID),
        ({"url": "https://10.0.0.1/push/v1/"}, TOKEN_INVALID),
        ({"url": "https://u:p@gateway.example/push/v1/"}, TOKEN_INVALID),
    ],
)
async def test_addresses_that_are_none_are_not_asked(
    matrix: Matrix, matrix_transports: Transports, change: dict[str, Any], code: int
) -> None:
    result = await send(matrix_transports, {**plain(matrix), **change})
    assert (result.verdict, result.code) == (Verdict.DEAD, code)
    assert matrix.gateway.requests == []


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://gateway.example/push/v1/", "gateway.example/push/v1/"),
        ("https://gateway.example:8443/ios/push/v1", "gateway.example:8443/ios/push/v1"),
        ("https://user:hush@gateway.example/push/v1/?token=hush", "gateway.example/push/v1/"),
        ("nothing", "nowhere"),
        ("https://gateway.example:port/", "nowhere"),
        (None, "nowhere"),
    ],
)
async def test_each_url_is_an_endpoint(
    matrix_transports: Transports, url: Any, endpoint: str
) -> None:
    """One who names a wrong path closes the circuit for nobody else."""
    assert matrix_transports.by_type["matrix"].endpoint(outgoing({"url": url})) == endpoint


async def test_no_secret_is_in_a_log_an_error_or_a_repr(
    matrix: Matrix, matrix_transports: Transports, caplog: pytest.LogCaptureFixture
) -> None:
    """Success and every kind of failure, with all logging on."""
    for name in ("", "api", "tidelog", "broker"):
        caplog.set_level(logging.DEBUG, logger=name)
    matrix.fake.base = "/hush-path/push/v1"
    transport = matrix_transports.by_type["matrix"]
    said = [repr(vars(transport)), repr(outgoing(encrypted(matrix), month_key=MONTH_KEY).month_key)]
    echo = json_reply(500, {"error": PUSHKEY, "ciphertext": "hush"})
    for answer in (None, echo, Act.HANG_UP, Reply(200, PUSHKEY.encode())):
        for way in WAYS:
            if answer is not None:
                matrix.fake.script.then(answer)
            said.append(repr(await send(matrix_transports, way(matrix))))
    said.append(repr(await send(matrix_transports, encrypted(matrix), month_key=None)))
    everything = caplog.text + "".join(said)
    for secret in (PUSHKEY, "hush", MONTH_KEY.key.hex(), repr(MONTH_KEY.key)[2:-1], "Hello"):
        assert secret not in everything, secret
