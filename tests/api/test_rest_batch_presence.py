"""`GET /presence`: who is on each of many channels (reference 1.10)."""

from typing import Any

import httpx
import pytest

from api.rest import batch_presence
from broker.channels.presence import PresenceAction
from tests.api.members import change
from tests.api.rest_server import MSGPACK, TYPES, RestServer, basic, decode, error_of
from tests.api.test_rest_batch import BAD_NAME, COUNTED, NEW, OLD, limited_client


def presence_of(reply: httpx.Response) -> Any:
    body = decode(reply)
    return body["results"] if isinstance(body, dict) else body


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("headers", [*OLD, *NEW], ids=str)
async def test_presence_by_version(server: RestServer, headers: dict[str, str], kind: str) -> None:
    await change(server, PresenceAction.ENTER, "ann", channel="c", data=b"\xff")
    reply = await server.client.get(
        "/presence", params={"channels": "c,never used"}, headers={"Accept": kind, **headers}
    )
    assert (reply.status_code, reply.headers["content-type"]) == (200, kind)
    told = decode(reply)
    if headers in NEW:
        assert (told["successCount"], told["failureCount"]) == (2, 0)
    else:
        assert isinstance(told, list)
    (c, unknown) = presence_of(reply)
    assert unknown == {"channel": "never used", "presence": []}
    (member,) = c["presence"]
    alone = await server.client.get("/channels/c/presence", headers={"Accept": kind})
    assert decode(alone) == [member]
    assert member["data"] == (b"\xff" if kind == MSGPACK else "/w==")


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"channels": "a,b"}, ["a", "b"]),
        ({"channel": "a,b"}, ["a", "b"]),
        ({"channels": "a", "channel": "b"}, ["a"]),
        ({"channels": "", "channel": "b"}, ["b"]),
        ({"channels": "b,a,b,,a,"}, ["b", "a"]),
        ({"channels": "a,b", "separator": ";"}, ["a,b"]),
        ({"channels": "a, b;;c,d", "separator": ";;"}, ["a, b", "c,d"]),
        ({"channels": "a,b", "separator": ""}, ["a", "b"]),
        ({"channels": "é\U0001f600,a/b"}, ["é\U0001f600", "a/b"]),
        ({"channels": ",".join(f"c{n}" for n in range(100))}, [f"c{n}" for n in range(100)]),
    ],
)
async def test_names_of_channels(
    server: RestServer, params: dict[str, str], names: list[str]
) -> None:
    reply = await server.client.get("/presence", params=params)
    assert [item["channel"] for item in decode(reply)] == names


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, 40000),
        ({"channels": ""}, 40000),
        ({"channels": ","}, 40000),
        ({"channels": "a", "separator": "x" * 17}, 40003),
        ({"channels": ",".join(f"c{n}" for n in range(101))}, 90010),
    ],
)
async def test_what_names_no_channels(
    server: RestServer, params: dict[str, str], code: int
) -> None:
    assert error_of(await server.client.get("/presence", params=params)) == (400, code)


@pytest.mark.parametrize("headers", [{}, COUNTED], ids=str)
async def test_rights_to_see_presence(server: RestServer, headers: dict[str, str]) -> None:
    capability = '{"s":["subscribe"],"p":["presence"],"h":["history"]}'
    client = await limited_client(server, capability)
    params = {"channels": f"s,h,p,other,{BAD_NAME}"}
    reply = await client.get("/presence", params=params, headers=headers)
    told = decode(reply)
    if headers:
        assert reply.status_code == 200
        assert (told["successCount"], told["failureCount"]) == (2, 3)
        items = told["results"]
    else:
        assert (reply.status_code, reply.headers["x-ably-errorcode"]) == (400, "40020")
        items = told["batchResponse"]
    codes = [(item["channel"], item.get("error", {}).get("code")) for item in items]
    assert codes == [("s", None), ("h", 40160), ("p", None), ("other", 40160), (BAD_NAME, 40010)]
    assert items[1]["error"]["statusCode"] == 401
    nobody = await server.connect({})
    assert error_of(await nobody.get("/presence?channels=s")) == (401, 40101)


async def test_apps_see_their_own_members(server: RestServer) -> None:
    await change(server, PresenceAction.ENTER, "ann", channel="c")
    other = await server.broker.apps.create()
    key = await server.broker.apps.create_key(other.id)
    client = await server.connect(basic(key.string))
    assert presence_of(await client.get("/presence?channels=c")) == [
        {"channel": "c", "presence": []}
    ]


async def test_there_are_so_many_members_in_a_batch(
    server: RestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit says so in its place; what comes behind may fit again."""
    monkeypatch.setattr(batch_presence, "MEMBERS_MAX", 3)
    for channel, count in (("two", 2), ("also two", 2), ("one", 1), ("none", 0), ("more", 1)):
        for number in range(count):
            await change(server, PresenceAction.ENTER, f"client{number}", channel=channel)
    reply = await server.client.get(
        "/presence", params={"channels": "two,also two,one,none,more"}, headers=COUNTED
    )
    told = [
        len(item["presence"]) if "presence" in item else item["error"]["code"]
        for item in presence_of(reply)
    ]
    assert told == [2, 40000, 1, 0, 40000]
