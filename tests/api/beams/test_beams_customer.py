"""Deleting a user: both paths, ids of any spelling, and what is refused."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.beams.beams_server import ID, OTHER, Refused, refused
from tests.api.beams.publishing import HELLO, KEY, Publishing, publishing
from tests.broker.acting import Time

APIS = ("customer_api", "user_api")


@pytest.fixture
async def beams(tmp_path: Path, time: Time) -> AsyncIterator[Publishing]:
    async with publishing(tmp_path, time) as running:
        yield running


async def delete(
    beams: Publishing, user: str, api: str = APIS[0], instance: str = ID, **sent: Any
) -> Any:
    return await beams.call("DELETE", f"/{api}/v1/instances/{instance}/users{user}", **sent)


USERS = (
    ("alice", "/alice"),
    ("a/b c", "/a/b%20c"),
    ("a/b c", "/a%2Fb%20c"),
    ("/é", "/%2F%C3%A9"),
    ("//", "///"),
    ("u" * 164, "/" + "u" * 164),
)


@pytest.mark.parametrize("api", APIS)
async def test_a_user_goes_with_all_devices_of_beams(beams: Publishing, api: str) -> None:
    await beams.device("web-2", user="other")
    for number, (user, path) in enumerate(USERS, start=1):
        await beams.device("web-1", user=user)
        await beams.device("fcm-1", user=user)
        await beams.ably_device(user)
        for _ in range(2):  # who is not there is deleted too
            reply = await delete(beams, path, api)
            assert (reply.status_code, reply.content) == (200, b""), path
            assert beams.devices() == {"web-2", "ably-1"}, path
        await beams.published({"users": [user, "other"], "web": HELLO})
        await beams.until_delivered()
        assert len(beams.at_browsers) == number, path


ROWS: dict[str, tuple[str, dict[str, Any], str, Refused]] = {
    "400-no-instance": (
        "",
        {},
        "/u",
        (400, "Incomplete Request", "instance-id param is missing from path."),
    ),
    "400-bad-instance": ("x", {}, "/u", (400, "Bad Request", "instance-id given is not valid.")),
    "400-no-authorization": (
        ID,
        {"headers": {"Authorization": None}},
        "/u",
        (400, "Incomplete Request", "Authorization header is missing."),
    ),
    "400-no-user": (
        ID,
        {},
        "/",
        (400, "Incomplete Request", "user-id param is missing from path."),
    ),
    "400-nothing": (
        ID,
        {},
        "",
        (400, "Incomplete Request", "user-id param is missing from path."),
    ),
    "400-too-long": (
        ID,
        {},
        "/" + "u" * 165,
        (400, "Bad Request", "user-id given is not valid."),
    ),
    "400-no-utf8": (ID, {}, "/%FF", (400, "Bad Request", "user-id given is not valid.")),
    "401-wrong-key": (
        ID,
        {"headers": {"Authorization": f"Bearer x{KEY}"}},
        "/u",
        (401, "Unauthorized", "Incorrect API Key."),
    ),
    "404-unknown-instance": (
        OTHER,
        {},
        "/u",
        (404, "Instance not found", "Could not find the instance."),
    ),
}


@pytest.mark.parametrize("api", APIS)
async def test_errors_of_deleting_a_user(beams: Publishing, api: str) -> None:
    await beams.device("web-1", user="u")
    for row, (instance, sent, path, expected) in ROWS.items():
        assert refused(await delete(beams, path, api, instance, **sent)) == expected, row
        assert beams.devices() == {"web-1"}, row


@pytest.mark.parametrize("api", APIS)
async def test_429_too_many_requests(beams: Publishing, time: Time, api: str) -> None:
    for _ in range(100):
        assert (await delete(beams, "/u", api)).status_code == 200
    said = "Too many requests being made in quick succession (max 100 RPS)."
    assert refused(await delete(beams, "/u", api)) == (429, "Rate Limited", said)
