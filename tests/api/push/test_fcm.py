"""FCM against a strict gateway: what arrives, what each error means, access tokens and errors."""

from pathlib import Path

import pytest
import trio

from api.push.transports import Transports
from broker.push.transport import (
    BAD_BODY,
    BAD_CREDENTIALS,
    NO_RECIPIENT,
    PAYLOAD_REJECTED,
    SENT,
    TOKEN_INVALID,
    UNREACHABLE,
    Result,
    Verdict,
)
from tests.api.push import rig
from tests.api.push.fcm_gateway import error
from tests.api.push.http_gateway import Act, Answer, Reply, json_reply
from tests.api.push.rig import FCM_TOKEN, HELLO, Fcm, Keys, Now, outgoing

DEVICE = {"transportType": "fcm", "registrationToken": FCM_TOKEN}


async def send(transports: Transports, **more: object) -> Result:
    fields = {"recipient": DEVICE, **more}
    return await transports.by_type["fcm"].send(outgoing(**fields))  # type: ignore[arg-type]


async def test_a_notification_arrives(fcm: Fcm, fcm_transports: Transports) -> None:
    assert await send(fcm_transports) == SENT
    assert fcm.fake.delivered == [
        {
            "token": FCM_TOKEN,
            "notification": {"title": "Hello", "body": "World"},
            "data": {"n": "7"},
            "android": {"ttl": "3600s"},
        }
    ]


async def test_gcm_is_another_name_of_it(fcm_transports: Transports) -> None:
    assert fcm_transports.by_type["gcm"] is fcm_transports.by_type["fcm"]


@pytest.mark.parametrize(
    ("answer", "verdict", "code"),
    [
        (error(404, "NOT_FOUND", code="UNREGISTERED"), Verdict.DEAD, TOKEN_INVALID),
        (error(403, "PERMISSION_DENIED", code="SENDER_ID_MISMATCH"), Verdict.DEAD, TOKEN_INVALID),
        (error(400, "INVALID_ARGUMENT", code="INVALID_ARGUMENT"), Verdict.DEAD, TOKEN_INVALID),
        (
            error(400, "INVALID_ARGUMENT", code="INVALID_ARGUMENT", fields=("message.token",)),
            Verdict.DEAD,
            TOKEN_INVALID,
        ),
        (
            error(
                400, "INVALID_ARGUMENT", code="INVALID_ARGUMENT", fields=("message.data[0].value",)
            ),
            Verdict.REJECTED,
            PAYLOAD_REJECTED,
        ),
        (
            error(400, "INVALID_ARGUMENT", fields=("message.data",)),
            Verdict.REJECTED,
            PAYLOAD_REJECTED,
        ),
        (error(400, "INVALID_ARGUMENT"), Verdict.REJECTED, PAYLOAD_REJECTED),
        (error(400, "SOMETHING_NEW"), Verdict.REJECTED, PAYLOAD_REJECTED),
        (error(404, "NOT_FOUND"), Verdict.MISCONFIGURED, BAD_CREDENTIALS),
        (error(403, "PERMISSION_DENIED"), Verdict.MISCONFIGURED, BAD_CREDENTIALS),
        (Reply(404, b"<html>"), Verdict.MISCONFIGURED, BAD_CREDENTIALS),
        (Reply(302, headers={"location": "/"}), Verdict.REJECTED, PAYLOAD_REJECTED),
        (
            error(429, "RESOURCE_EXHAUSTED", code="QUOTA_EXCEEDED"),
            Verdict.TRANSIENT,
            UNREACHABLE,
        ),
        (error(500, "INTERNAL", code="INTERNAL"), Verdict.TRANSIENT, UNREACHABLE),
        (error(503, "UNAVAILABLE", code="UNAVAILABLE"), Verdict.TRANSIENT, UNREACHABLE),
        (Reply(502, b"\xff"), Verdict.TRANSIENT, UNREACHABLE),
        (Act.GOAWAY, Verdict.TRANSIENT, UNREACHABLE),
        (Act.HANG_UP, Verdict.TRANSIENT, UNREACHABLE),
    ],
)
async def test_what_an_answer_means(
    fcm: Fcm, fcm_transports: Transports, answer: Answer, verdict: Verdict, code: int
) -> None:
    fcm.fake.script.then(answer)
    result = await send(fcm_transports)
    assert (result.verdict, result.code) == (verdict, code)
    assert "secret" not in result.message
    assert FCM_TOKEN not in result.message
    assert await send(fcm_transports) == SENT


@pytest.mark.parametrize(
    ("answer", "retry_after_ms"),
    [
        (error(429, "RESOURCE_EXHAUSTED"), 60_000),
        (error(429, "RESOURCE_EXHAUSTED", **{"retry-after": "90"}), 90_000),
        (error(503, "UNAVAILABLE"), 10_000),
        (error(503, "UNAVAILABLE", **{"retry-after": "3"}), 3_000),
        (Act.HANG_UP, 10_000),
        (error(400, "INVALID_ARGUMENT"), None),
    ],
)
async def test_how_long_google_wants_us_to_wait(
    fcm: Fcm, fcm_transports: Transports, answer: Answer, retry_after_ms: int | None
) -> None:
    fcm.fake.script.then(answer)
    assert (await send(fcm_transports)).retry_after_ms == retry_after_ms


async def test_unknown_and_malformed_tokens(fcm: Fcm, fcm_transports: Transports) -> None:
    fcm.fake.unregistered.add("gone")
    fcm.fake.malformed.add("bad")
    for token in ("gone", "bad"):
        result = await send(fcm_transports, recipient={"registrationToken": token})
        assert result.verdict is Verdict.DEAD


@pytest.mark.parametrize("recipient", [{}, {"registrationToken": ""}, {"registrationToken": 7}])
async def test_no_address(
    fcm: Fcm, fcm_transports: Transports, recipient: dict[str, object]
) -> None:
    result = await send(fcm_transports, recipient=recipient)
    assert (result.verdict, result.code) == (Verdict.DEAD, NO_RECIPIENT)
    assert fcm.gateway.requests == []


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"fcm": 7}, BAD_BODY),
        ({"notification": {"title": "x", "ttl": "soon"}}, BAD_BODY),
        ({"data": {"x": "x" * 4_096}}, PAYLOAD_REJECTED),
    ],
)
async def test_payloads_that_cannot_be(
    fcm: Fcm, fcm_transports: Transports, payload: dict[str, object], code: int
) -> None:
    result = await send(fcm_transports, payload=payload)
    assert (result.verdict, result.code) == (Verdict.REJECTED, code)
    assert fcm.gateway.requests == []


async def test_a_publisher_cannot_choose_the_device(fcm: Fcm, fcm_transports: Transports) -> None:
    theirs = {"token": "other", "topic": "all", "condition": "x", "to": "y"}
    assert await send(fcm_transports, payload={**HELLO, "fcm": theirs}) == SENT
    assert fcm.fake.delivered[0]["token"] == FCM_TOKEN


async def test_an_access_token_serves_until_shortly_before_its_end(
    fcm: Fcm, fcm_transports: Transports, now: Now
) -> None:
    for minutes in (0, 58.9, 0.2):
        now.pass_minutes(minutes)
        assert await send(fcm_transports) == SENT
    assert len(fcm.fake.granted) == 2


async def test_many_that_need_a_token_fetch_it_once(fcm: Fcm, fcm_transports: Transports) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(send, fcm_transports)
    assert (len(fcm.fake.delivered), len(fcm.fake.granted)) == (30, 1)


async def test_a_revoked_access_token_is_replaced_once(
    fcm: Fcm, fcm_transports: Transports, now: Now
) -> None:
    assert await send(fcm_transports) == SENT
    fcm.fake.revoke_all()
    now.pass_minutes(1)
    assert await send(fcm_transports) == SENT
    fcm.fake.script.then(*[error(401, "UNAUTHENTICATED", code="THIRD_PARTY_AUTH_ERROR")] * 2)
    result = await send(fcm_transports)
    assert (result.verdict, result.code) == (Verdict.MISCONFIGURED, BAD_CREDENTIALS)


@pytest.mark.parametrize(
    ("answer", "verdict", "code", "retry_after_ms"),
    [
        (json_reply(400, {"error": "invalid_grant"}), "MISCONFIGURED", BAD_CREDENTIALS, None),
        (json_reply(401, {"error": "invalid_client"}), "MISCONFIGURED", BAD_CREDENTIALS, None),
        (json_reply(429, {}, **{"retry-after": "5"}), "TRANSIENT", UNREACHABLE, 5_000),
        (Reply(500), "TRANSIENT", UNREACHABLE, 10_000),
        (Reply(200, b"[]"), "TRANSIENT", UNREACHABLE, 10_000),
        (
            json_reply(200, {"access_token": "a\nb", "expires_in": 1}),
            "TRANSIENT",
            UNREACHABLE,
            10_000,
        ),
        (Act.HANG_UP, "TRANSIENT", UNREACHABLE, 10_000),
    ],
)
async def test_what_the_token_endpoint_says(
    fcm: Fcm,
    fcm_transports: Transports,
    answer: Answer,
    verdict: str,
    code: int,
    retry_after_ms: int | None,
) -> None:
    fcm.fake.token_script.then(answer)
    result = await send(fcm_transports)
    assert (result.verdict, result.code) == (Verdict[verdict], code)
    assert result.retry_after_ms == retry_after_ms
    assert await send(fcm_transports) == SENT


async def test_another_account_is_refused(fcm: Fcm, keys: Keys, tmp_path: Path, now: Now) -> None:
    other = tmp_path / "other.json"
    rig.write_account(other, keys, token_uri=fcm.fake.token_url, client_email="x@y.example")
    settings = {**fcm.settings, "fcm_service_account_file": str(other)}
    async with rig.built(settings, tmp_path, now) as transports:
        assert (await send(transports)).verdict is Verdict.MISCONFIGURED


async def test_tokens_may_come_from_elsewhere(
    fcm: Fcm, keys: Keys, tmp_path: Path, now: Now
) -> None:
    """And the audience is where they come from."""
    rig.write_account(tmp_path / "account.json", keys, token_uri="https://nowhere.example/token")
    settings = {**fcm.settings, "fcm_token_url": fcm.fake.token_url}
    async with rig.built(settings, tmp_path, now) as transports:
        assert await send(transports) == SENT
