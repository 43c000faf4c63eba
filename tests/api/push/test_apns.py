"""APNs against a strict gateway: what arrives, what refusals mean, tokens renewed."""

import uuid

import jwt
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
from tests.api.push.apns_gateway import refused
from tests.api.push.http_gateway import Act, Answer
from tests.api.push.rig import DEVICE_TOKEN, HELLO, ID, NOW_MS, TOPIC, Apns, Now, outgoing

DEVICE = {"transportType": "apns", "deviceToken": DEVICE_TOKEN}


async def send(transports: Transports, **more: object) -> Result:
    fields = {"recipient": DEVICE, **more}
    return await transports.by_type["apns"].send(outgoing(**fields))  # type: ignore[arg-type]


async def test_a_notification_arrives(apns: Apns, apns_transports: Transports) -> None:
    assert await send(apns_transports) == SENT
    (delivered,) = apns.fake.delivered
    assert delivered.token == DEVICE_TOKEN
    assert delivered.body == {"aps": {"alert": {"title": "Hello", "body": "World"}}, "n": 7}
    named = {n: v for n, v in delivered.headers.items() if n.startswith("apns-")}
    assert named == {
        "apns-topic": TOPIC,
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": str(NOW_MS // 1000 + 3600),
        "apns-id": str(uuid.UUID(ID)),
    }


async def test_every_attempt_has_the_same_id(apns: Apns, apns_transports: Transports) -> None:
    apns.fake.script.then(refused(503, "Shutdown"))
    assert (await send(apns_transports)).verdict is Verdict.TRANSIENT
    assert await send(apns_transports) == SENT
    assert len({request.headers["apns-id"] for request in apns.gateway.requests}) == 1


async def test_headers_of_the_publisher(apns: Apns, apns_transports: Transports) -> None:
    headers = {"apns-collapse-id": "chat", "apns-priority": 5, "apns-expiration": "0"}
    payload = {**HELLO, "apns": {"apns-headers": headers}}
    assert await send(apns_transports, payload=payload) == SENT
    got = apns.fake.delivered[0].headers
    assert {name: got[name] for name in headers} == {n: str(v) for n, v in headers.items()}


async def test_what_nobody_wants_any_more_is_not_kept_by_apple(
    apns: Apns, apns_transports: Transports
) -> None:
    await send(apns_transports, expires_ms=NOW_MS)
    assert apns.fake.delivered[0].headers["apns-expiration"] == "0"


@pytest.mark.parametrize(
    ("answer", "verdict", "code"),
    [
        (refused(410, "Unregistered", timestamp=NOW_MS), Verdict.DEAD, TOKEN_INVALID),
        (refused(410, "ExpiredToken"), Verdict.DEAD, TOKEN_INVALID),
        (refused(410, "SomethingNew"), Verdict.DEAD, TOKEN_INVALID),
        (refused(400, "BadDeviceToken"), Verdict.DEAD, TOKEN_INVALID),
        (refused(400, "DeviceTokenNotForTopic"), Verdict.DEAD, TOKEN_INVALID),
        (refused(400, "TopicDisallowed"), Verdict.MISCONFIGURED, BAD_CREDENTIALS),
        (refused(400, "BadCollapseId"), Verdict.REJECTED, PAYLOAD_REJECTED),
        (refused(400, "SomethingNew"), Verdict.REJECTED, PAYLOAD_REJECTED),
        (refused(413, "PayloadTooLarge"), Verdict.REJECTED, PAYLOAD_REJECTED),
        (refused(403, "InvalidProviderToken"), Verdict.MISCONFIGURED, BAD_CREDENTIALS),
        (refused(403, "BadCertificateEnvironment"), Verdict.MISCONFIGURED, BAD_CREDENTIALS),
        (refused(403, "Forbidden"), Verdict.MISCONFIGURED, BAD_CREDENTIALS),
        (refused(403, "SomethingNew"), Verdict.MISCONFIGURED, BAD_CREDENTIALS),
        (refused(429, "TooManyRequests"), Verdict.TRANSIENT, UNREACHABLE),
        (refused(429, "TooManyProviderTokenUpdates"), Verdict.TRANSIENT, UNREACHABLE),
        (refused(500, "InternalServerError"), Verdict.TRANSIENT, UNREACHABLE),
        (refused(503, "Shutdown"), Verdict.TRANSIENT, UNREACHABLE),
        (refused(503, "ServiceUnavailable"), Verdict.TRANSIENT, UNREACHABLE),
        (Act.GOAWAY, Verdict.TRANSIENT, UNREACHABLE),
        (Act.HANG_UP, Verdict.TRANSIENT, UNREACHABLE),
        (Act.NONSENSE, Verdict.TRANSIENT, UNREACHABLE),
    ],
)
async def test_what_an_answer_means(
    apns: Apns, apns_transports: Transports, answer: Answer, verdict: Verdict, code: int
) -> None:
    apns.fake.script.then(answer)
    result = await send(apns_transports)
    assert (result.verdict, result.code) == (verdict, code)
    assert not result.is_silent
    assert DEVICE_TOKEN not in result.message
    assert await send(apns_transports) == SENT


async def test_a_device_that_registered_again_is_not_dead(
    apns: Apns, apns_transports: Transports
) -> None:
    apns.fake.unregistered[DEVICE_TOKEN] = NOW_MS
    assert (await send(apns_transports, updated_ms=NOW_MS)).verdict is Verdict.DEAD
    assert (await send(apns_transports, updated_ms=NOW_MS + 1)).verdict is Verdict.TRANSIENT


async def test_retry_after_is_passed_on(apns: Apns, apns_transports: Transports) -> None:
    answer = refused(429, "TooManyRequests")
    answer.headers["retry-after"] = "7"
    apns.fake.script.then(answer)
    assert (await send(apns_transports)).retry_after_ms == 7_000


@pytest.mark.parametrize(
    ("recipient", "code"),
    [
        ({}, NO_RECIPIENT),
        ({"deviceToken": 7}, NO_RECIPIENT),
        ({"deviceToken": "not hex"}, TOKEN_INVALID),
        ({"deviceToken": "a1/../a1"}, TOKEN_INVALID),
        ({"deviceToken": "a1a"}, TOKEN_INVALID),
        ({"deviceToken": DEVICE_TOKEN, "bundleIdentifier": "a\r\nb: c"}, TOKEN_INVALID),
    ],
)
async def test_addresses_that_are_none_are_not_asked_about(
    apns: Apns, apns_transports: Transports, recipient: dict[str, object], code: int
) -> None:
    result = await send(apns_transports, recipient=recipient)
    assert (result.verdict, result.code, result.is_silent) == (Verdict.DEAD, code, True)
    assert apns.gateway.requests == []


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"notification": "x"}, BAD_BODY),
        ({"apns": {"apns-headers": {"authorization": "x"}}}, BAD_BODY),
        ({"apns": {"apns-headers": {"apns-priority": "7"}}}, BAD_BODY),
        ({"data": {"x": "x" * 4_096}}, PAYLOAD_REJECTED),
    ],
)
async def test_payloads_that_cannot_be(
    apns: Apns, apns_transports: Transports, payload: dict[str, object], code: int
) -> None:
    result = await send(apns_transports, payload=payload)
    assert (result.verdict, result.code, result.is_silent) == (Verdict.REJECTED, code, True)
    assert apns.gateway.requests == []


@pytest.mark.parametrize("reason", ["TopicDisallowed", "DeviceTokenNotForTopic", "BadTopic"])
async def test_a_wrong_topic_is_the_fault_of_who_chose_it(
    apns: Apns, apns_transports: Transports, reason: str
) -> None:
    apns.fake.topics = (TOPIC, "org.other")
    apns.fake.script.then(refused(400, reason), refused(400, reason))
    own = await send(apns_transports, recipient={**DEVICE, "bundleIdentifier": "org.other"})
    payload = {**HELLO, "apns": {"apns-headers": {"apns-topic": "org.other"}}}
    asked = await send(apns_transports, payload=payload)
    assert (own.verdict, asked.verdict) == (Verdict.DEAD, Verdict.REJECTED)


async def test_one_provider_token_serves_fifty_minutes(
    apns: Apns, apns_transports: Transports, now: Now
) -> None:
    for minutes in (0, 49, 2):
        now.pass_minutes(minutes)
        assert await send(apns_transports) == SENT
    assert len(apns.fake.provider_tokens) == 2


async def test_a_provider_token_from_the_future_is_not_kept(
    apns: Apns, apns_transports: Transports, now: Now
) -> None:
    """The clock was set back."""
    assert await send(apns_transports) == SENT
    now.pass_minutes(-100)
    assert await send(apns_transports) == SENT


async def test_an_expired_provider_token_is_renewed_and_the_request_repeated_at_once(
    apns: Apns, apns_transports: Transports
) -> None:
    apns.fake.script.then(refused(403, "ExpiredProviderToken"))
    assert await send(apns_transports) == SENT
    assert len(apns.gateway.requests) == len(apns.fake.provider_tokens) == 2


async def test_it_is_repeated_once_and_renewed_no_more_than_apple_allows(
    apns: Apns, apns_transports: Transports, now: Now
) -> None:
    apns.fake.script.then(*[refused(403, "ExpiredProviderToken")] * 3)
    for _ in range(2):
        result = await send(apns_transports)
        assert (result.verdict, result.code) == (Verdict.MISCONFIGURED, BAD_CREDENTIALS)
    assert len(apns.gateway.requests) == 3
    now.pass_minutes(21)
    apns.fake.script.then(refused(403, "ExpiredProviderToken"))
    assert await send(apns_transports) == SENT


async def test_many_requests_that_find_the_token_expired_share_one_new_token(
    apns: Apns, apns_transports: Transports
) -> None:
    apns.fake.script.then(*[refused(403, "ExpiredProviderToken")] * 20)
    await _send_many(apns_transports, 20)
    assert len(apns.fake.delivered) == 20
    assert len(apns.fake.provider_tokens) == 2


async def test_many_notifications_share_one_connection(
    apns: Apns, apns_transports: Transports
) -> None:
    await _send_many(apns_transports, 50)
    assert (len(apns.fake.delivered), apns.gateway.connections) == (50, 1)


async def _send_many(transports: Transports, count: int) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(send, transports)


async def test_after_goaway_there_is_a_new_connection(
    apns: Apns, apns_transports: Transports
) -> None:
    apns.fake.script.then(Act.GOAWAY)
    await send(apns_transports)
    assert await send(apns_transports) == SENT
    assert apns.gateway.connections == 2


async def test_what_a_goaway_says_was_not_handled_goes_to_a_new_connection_at_once(
    apns: Apns, apns_transports: Transports
) -> None:
    assert await send(apns_transports) == SENT
    apns.fake.script.then(Act.GOAWAY_UNSEEN)
    assert await send(apns_transports) == SENT
    assert (len(apns.fake.delivered), apns.gateway.connections) == (2, 2)
    assert apns.fake.delivered[0].body == apns.fake.delivered[1].body


async def test_the_token_is_what_apple_documents(apns: Apns, apns_transports: Transports) -> None:
    await send(apns_transports)
    (token,) = apns.fake.provider_tokens
    header = jwt.get_unverified_header(token)
    assert (header["alg"], header["kid"]) == ("ES256", "KEY4567890")


async def test_its_endpoint(apns_transports: Transports, apns: Apns) -> None:
    assert apns_transports.by_type["apns"].endpoint(outgoing(DEVICE)) == apns.gateway.url
