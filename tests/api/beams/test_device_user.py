"""Whose a device is: Beams tokens, each check in its order, and how many one user may have."""

import base64
import json
from typing import Any

import jwt
import pytest
import trio

from tests.api.beams.beams_server import (
    BAD_INSTANCE_ID,
    BAD_TYPE,
    DEVICE_NOT_FOUND,
    ID,
    INSTANCE_NOT_FOUND,
    ISSUER,
    NO_DEVICE_ID,
    NO_INSTANCE_ID,
    NOBODY,
    OTHER,
    PLATFORMS,
    SECRET,
    BeamsServer,
    Refused,
    is_done,
    refused,
)

NO_TOKEN = (401, "Unauthorized", "Authorization header token is missing.")
BAD_TOKEN = (401, "Unauthorized", "Authorization header token is malformed.")
BAD_DEVICE = (400, "Bad Request", "Invalid device id.")
NO_EXPIRATION = (400, "Bad Request", "Missing expiration (exp) field in JWT")
NO_SUBJECT = (400, "Bad Request", "Missing subject (sub) field in JWT")
BAD_SUBJECT = (400, "Bad Request", "JWT subject (sub) must be between 1-164 characters long")
NO_ISSUER = (400, "Bad Request", "Missing issuer (iss) field in JWT")
BAD_ISSUER = (403, "Forbidden", "Invalid JWT issuer.")
IS_SET = (400, "Bad Request", "A User Id is already associated with this device.")
TOO_MANY = (422, "Unprocessable Entity", "User already has reached the maximum of 100 devices.")


async def put(beams: BeamsServer, id_: str, token: str) -> Any:
    return await beams.set_user(id_, headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_a_device_becomes_a_users_and_stays_that(beams: BeamsServer, platform: str) -> None:
    id_ = await beams.register(platform)
    for _ in range(2):
        assert is_done(await beams.set_user(id_, "älice/1"))
    assert (await beams.described(id_))["userId"] == "älice/1"
    assert refused(await beams.set_user(id_, "bob")) == IS_SET
    assert (await beams.described(id_))["userId"] == "älice/1"
    assert is_done(await beams.ask("DELETE", platform, id_))
    new = await beams.register(platform)
    assert is_done(await beams.set_user(new, "bob"))


@pytest.mark.parametrize("user", ["x", "x" * 164, "ä" * 164, "\x00", "\U0001f300" * 164])
async def test_users_may_be_called_anything(beams: BeamsServer, user: str) -> None:
    id_ = await beams.register("web")
    assert is_done(await beams.set_user(id_, user))
    assert (await beams.described(id_))["userId"] == user


CLAIMS: tuple[tuple[dict[str, Any], Refused], ...] = (
    ({"exp": None}, NO_EXPIRATION),
    ({"exp": "x", "sub": None, "iss": None}, NO_EXPIRATION),
    ({"exp": True}, NO_EXPIRATION),
    ({"exp": 1}, BAD_TOKEN),
    ({"exp": -1, "sub": None}, BAD_TOKEN),
    ({"sub": None, "iss": None}, NO_SUBJECT),
    ({"sub": ""}, BAD_SUBJECT),
    ({"sub": "x" * 165, "iss": None}, BAD_SUBJECT),
    ({"iss": None}, NO_ISSUER),
    ({"iss": "https://example.com"}, BAD_ISSUER),
    ({"iss": ISSUER.replace(ID, OTHER)}, BAD_ISSUER),
    ({"iss": ISSUER + "/"}, BAD_ISSUER),
    ({"secret": "other"}, BAD_TOKEN),
    ({"secret": SECRET.lower() + " "}, BAD_TOKEN),
    ({"algorithm": "HS512"}, BAD_TOKEN),
    ({"algorithm": "none", "secret": ""}, BAD_TOKEN),
)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # of our own signing
async def test_claims_and_signatures(beams: BeamsServer) -> None:
    for platform in PLATFORMS:
        id_ = await beams.register(platform)
        for claims, expected in CLAIMS:
            assert refused(await put(beams, id_, beams.token(**claims))) == expected, claims
            assert (await beams.described(id_))["userId"] is None


async def test_tokens_that_sdks_make(beams: BeamsServer) -> None:
    """Node's has `iat`; Python's expires as late as its host's zone is off; ids in capitals."""
    now_s = beams.broker.clock() // 1_000
    for number, claims in enumerate(
        (
            {"iat": now_s},
            {"exp": now_s + 36 * 3_600},
            {"exp": now_s + 60.5},
            {"iss": ISSUER.upper().replace("HTTPS", "https")},
        )
    ):
        id_ = await beams.register("fcm", number)
        assert is_done(await put(beams, id_, beams.token(**claims)))


def unsigned(payload: bytes) -> str:
    """Signed well, but not JSON that is an object."""
    return jwt.api_jws.encode(payload, SECRET, "HS256")


HEADERS: tuple[tuple[str | None, Refused], ...] = (
    (None, NO_TOKEN),
    ("", NO_TOKEN),
    ("Bearer", BAD_TOKEN),
    ("Bearer x", BAD_TOKEN),
    ("Bearer a.b.c", BAD_TOKEN),
    ("Basic YTpi", BAD_TOKEN),
    ("Bearer " + "x" * 4_000, BAD_TOKEN),
    ("Bearer " + unsigned(b"[]"), BAD_TOKEN),
    ("Bearer " + unsigned(b"{"), BAD_TOKEN),
    ("Bearer " + unsigned(b'{"exp": 1e400}'), BAD_TOKEN),
    ("Bearer " + unsigned(b'{"sub": "\\ud800"}'), BAD_TOKEN),
)


async def test_headers(beams: BeamsServer) -> None:
    for platform in PLATFORMS:
        id_ = await beams.register(platform)
        for header, expected in HEADERS:
            headers = {} if header is None else {"Authorization": header}
            assert refused(await beams.set_user(id_, headers=headers)) == expected, header


async def test_a_token_that_was_tampered_with(beams: BeamsServer) -> None:
    id_ = await beams.register("fcm")
    head, _, signature = beams.token().split(".")
    claims = {"iss": ISSUER, "sub": "mallory", "exp": 2**40}
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    assert refused(await put(beams, id_, f"{head}.{forged}.{signature}")) == BAD_TOKEN


async def test_what_is_looked_at_first(beams: BeamsServer) -> None:
    """Each request is wrong in every way that comes after what it is told."""
    bad = {"content": b"x", "headers": {"Content-Type": "text/plain"}}
    good = {"headers": {"Authorization": f"Bearer {beams.token()}"}}
    strange = {"headers": {"Authorization": f"Bearer {beams.token(iss='x')}"}}
    for platform in PLATFORMS:
        nobody = f"{platform}-{NOBODY}"
        for device, instance, sent, expected in (
            ("", "", bad, NO_INSTANCE_ID),
            ("", "x", bad, BAD_INSTANCE_ID),
            ("", OTHER, bad, NO_DEVICE_ID),
            ("x", OTHER, bad, BAD_DEVICE),
            (nobody, OTHER, bad, BAD_TYPE),
            (nobody, OTHER, {}, NO_TOKEN),
            (nobody, OTHER, good, INSTANCE_NOT_FOUND),
            (nobody, ID, strange, BAD_ISSUER),
            (nobody, ID, good, DEVICE_NOT_FOUND),
        ):
            reply = await beams.ask("PUT", platform, device, "user", instance=instance, **sent)
            assert refused(reply) == expected, (device, instance)


@pytest.mark.parametrize(("platform", "other"), [("apns", "fcm"), ("fcm", "web")])
async def test_a_user_has_at_most_100_devices_of_a_platform(
    beams: BeamsServer, platform: str, other: str
) -> None:
    async def bind(number: int) -> None:
        assert is_done(await beams.set_user(await beams.register(platform, number)))

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(bind, number)
    one_more = await beams.register(platform, 100)
    assert refused(await beams.set_user(one_more)) == TOO_MANY
    assert (await beams.described(one_more))["userId"] is None
    assert is_done(await beams.set_user(await beams.register(other)))
    assert is_done(await beams.set_user(one_more, "bob"))
    bound = await beams.register(platform, 7)
    assert is_done(await beams.ask("DELETE", platform, bound))
    assert is_done(await beams.set_user(await beams.register(platform, 101)))
