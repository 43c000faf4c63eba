"""Interests of devices: set, added, removed, listed by pages; names, limits and cursors."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.api.beams.beams_server import (
    NOT_JSON,
    PLATFORMS,
    BeamsServer,
    is_done,
    refused,
)

BAD_INTEREST = (400, "Invalid interest name", "interest-name given is not valid.")
NO_INTEREST = (400, "Incomplete Request", "interest-name param is missing from path.")
BAD_LIMIT = (400, "Bad Request", "limit given is not valid.")
BAD_CURSOR = (400, "Bad Request", "cursor given is not valid.")
TOO_MANY = (
    400,
    "Interest set too large",
    "Too many interests are being set for this device. Only 5000 interests per device are allowed.",
)
BAD_DEVICE = {
    "POST": (400, "Bad Request", "device-id given is not valid."),
    "DELETE": (400, "Incomplete Request", "device-id given is not valid."),
}
EVERY_CHARACTER = "ABZabz019_-=@,.;"
LONGEST = "x" * 164
BAD_NAMES = ("a b", "a/b", "a\n", "é", "a:b", "a%", "x" * 165, "*")


async def put(beams: BeamsServer, id_: str, names: Any) -> Any:
    return await beams.ask(
        "PUT", id_.partition("-")[0], id_, "interests", json={"interests": names}
    )


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_a_set_replaces_what_was_there(beams: BeamsServer, platform: str) -> None:
    id_ = await beams.register(platform)
    for names in (["b", "a", LONGEST, EVERY_CHARACTER, "a"], ["b", "c"], []):
        assert is_done(await put(beams, id_, names))
        assert await beams.interests(id_) == sorted(set(names))
    position = beams.broker.log.position
    assert is_done(await put(beams, id_, []))
    assert beams.broker.log.position == position


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_one_is_added_and_removed_however_often(beams: BeamsServer, platform: str) -> None:
    id_ = await beams.register(platform)
    for segment in (EVERY_CHARACTER, quote(EVERY_CHARACTER, safe=""), LONGEST):
        for _ in range(2):
            assert is_done(await beams.ask("POST", platform, id_, "interests", segment))
    assert await beams.interests(id_) == [EVERY_CHARACTER, LONGEST]
    for _ in range(2):
        assert is_done(await beams.ask("DELETE", platform, id_, "interests", LONGEST))
    assert await beams.interests(id_) == [EVERY_CHARACTER]


async def test_names_that_no_interest_has(beams: BeamsServer) -> None:
    id_ = await beams.register("fcm")
    assert is_done(await put(beams, id_, ["kept"]))
    for name in BAD_NAMES:
        path = ("fcm", id_, "interests", quote(name, safe=""))
        assert refused(await beams.ask("POST", *path)) == BAD_INTEREST, name
        assert refused(await put(beams, id_, ["a", name])) == BAD_INTEREST, name
        assert is_done(await beams.ask("DELETE", *path)), name
        assert await beams.interests(id_) == ["kept"], name


async def test_what_is_no_name_at_all(beams: BeamsServer) -> None:
    id_ = await beams.register("fcm")
    for name in ("", None, 5, ["a"], {}):
        assert refused(await put(beams, id_, [name])) == BAD_INTEREST, name


@pytest.mark.parametrize("names", [None, "a", {"a": 1}, 5])
async def test_a_set_is_an_array(beams: BeamsServer, names: Any) -> None:
    id_ = await beams.register("fcm")
    assert refused(await put(beams, id_, names)) == NOT_JSON
    assert refused(await beams.ask("PUT", "fcm", id_, "interests", json={})) == NOT_JSON


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_an_interest_and_its_device_are_named(beams: BeamsServer, method: str) -> None:
    for platform in PLATFORMS:
        id_ = await beams.register(platform)
        assert refused(await beams.ask(method, platform, id_, "interests", "")) == NO_INTEREST
        reply = await beams.ask(method, platform, f"{platform}-x", "interests", "a")
        assert refused(reply) == BAD_DEVICE[method]


async def test_a_device_has_at_most_5000(beams: BeamsServer) -> None:
    id_ = await beams.register("fcm")
    names = [f"{number:04}".ljust(164, "=") for number in range(5_000)]
    assert is_done(await put(beams, id_, [*names, names[0]]))
    assert refused(await put(beams, id_, [*names, "one-more"])) == TOO_MANY
    assert refused(await beams.ask("POST", "fcm", id_, "interests", "one-more")) == TOO_MANY
    assert is_done(await beams.ask("POST", "fcm", id_, "interests", names[7]))
    assert await beams.interests(id_) == names
    assert is_done(await beams.ask("DELETE", "fcm", id_, "interests", names[7]))
    assert is_done(await beams.ask("POST", "fcm", id_, "interests", "one-more"))


async def test_pages(beams: BeamsServer) -> None:
    id_ = await beams.register("web")
    names = sorted(f"n{number}" for number in range(101))
    await put(beams, id_, names)
    whole = (await beams.ask("GET", "web", id_, "interests")).json()
    assert whole["interests"] == names[:100]
    last = await beams.ask(
        "GET", "web", id_, "interests", params={"cursor": whole["responseMetadata"]["nextCursor"]}
    )
    assert last.json() == {"interests": names[100:], "responseMetadata": {}}
    params = {"limit": "100", "cursor": whole["responseMetadata"]["nextCursor"]}
    await beams.ask("DELETE", "web", id_, "interests", names[99])
    behind = await beams.ask("GET", "web", id_, "interests", params=params)
    assert behind.json() == last.json(), "a page begins behind a name that is gone"
    exact = await beams.ask("GET", "web", id_, "interests", params={"limit": "100"})
    assert exact.json() == {"interests": [*names[:99], names[100]], "responseMetadata": {}}
    one = await beams.ask("GET", "web", id_, "interests", params={"limit": "1"})
    assert one.json()["interests"] == names[:1]


async def test_limits_that_are_none(beams: BeamsServer) -> None:
    id_ = await beams.register("fcm")
    for limit in ("0", "101", "-1", "", "x", "1.5", "1e1", " 1", "१", "9" * 30):
        reply = await beams.ask("GET", "fcm", id_, "interests", params={"limit": limit})
        assert refused(reply) == BAD_LIMIT, limit


async def test_cursors_that_are_none(beams: BeamsServer) -> None:
    id_, other = await beams.register("fcm"), await beams.register("fcm", 2)
    for one in (id_, other):
        await put(beams, one, ["a", "b"])
    page = await beams.ask("GET", "fcm", other, "interests", params={"limit": "1"})
    theirs = page.json()["responseMetadata"]["nextCursor"]
    for cursor in ("", "x", "!", "é", "AAAA", "A" * 400, "a\x00", theirs, theirs[:-2]):
        reply = await beams.ask("GET", "fcm", id_, "interests", params={"cursor": cursor})
        assert refused(reply) == BAD_CURSOR, cursor
    fine = await beams.ask("GET", "fcm", other, "interests", params={"cursor": theirs})
    assert fine.json()["interests"] == ["b"]
