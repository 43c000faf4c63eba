"""`/push/deviceRegistrations` over the wire: fields, who may do what, filters, pages, refusals."""

from typing import Any
from urllib.parse import parse_qs, quote

import httpx
import pytest

from api.rest.push_caller import TOKEN
from broker.push.registration import ReportDevice
from broker.push.removal import REMOVED_AT_ONCE
from tests.api.push_bodies import APNS, DEVICES, SUBSCRIPTIONS, enable_push, new_device
from tests.api.rest_server import (
    JSON,
    TYPES,
    RestServer,
    basic,
    bearer,
    decode,
    encode,
    error_of,
    links,
)

FCM = {"transportType": "fcm", "registrationToken": "r"}
# What ably-python takes; of anything else it raises.
KNOWN = {
    "id",
    "clientId",
    "formFactor",
    "metadata",
    "platform",
    "push",
    "updateToken",
    "appId",
    "deviceIdentityToken",
    "modified",
    "deviceSecret",
}
NOT_PERMITTED = (401, 40160)


def one(id_: str = "dev", below: str = "") -> str:
    return f"{DEVICES}/{quote(id_, safe='')}{below}"


async def send(
    client: httpx.AsyncClient, method: str, path: str, body: Any, kind: str = JSON, **headers: str
) -> httpx.Response:
    types = {"Content-Type": kind, "Accept": kind}
    content = encode(body, kind)
    return await client.request(method, path, content=content, headers={**types, **headers})


async def register(server: RestServer, id_: str = "dev", **fields: Any) -> dict[str, Any]:
    """A device, and who it is."""
    reply = await send(server.client, "POST", DEVICES, new_device(id_, **fields))
    assert reply.status_code == 201, reply.text
    device: dict[str, Any] = decode(reply)
    return device


async def get(server: RestServer, id_: str = "dev") -> dict[str, Any]:
    reply = await server.client.get(one(id_))
    assert reply.status_code == 200, reply.text
    device: dict[str, Any] = decode(reply)
    return device


async def with_token(server: RestServer, id_: str = "dev", **fields: Any) -> httpx.AsyncClient:
    """A device that has nothing but its token."""
    device = await register(server, id_, **fields)
    return await server.connect({TOKEN: device["deviceIdentityToken"]["token"]})


async def as_client(server: RestServer, client_id: str | None = "ann") -> httpx.AsyncClient:
    """Who may see to a client's own devices."""
    claims = {"x-ably-capability": '{"*":["push-subscribe"]}', "x-ably-clientId": client_id}
    return await server.connect(bearer(server.token(**claims)))


async def listed(server: RestServer, **params: Any) -> list[str]:
    reply = await server.client.get(DEVICES, params=params)
    assert reply.status_code == 200, reply.text
    return [device["id"] for device in decode(reply)]


@pytest.mark.parametrize("kind", TYPES)
async def test_a_device_on_the_wire(server: RestServer, kind: str) -> None:
    given = new_device(
        "d/é,1",
        clientId="ann",
        metadata={"a.b": [1, None, {"c": "d"}]},
        deviceSecret="geheim",
    )
    reply = await send(server.client, "POST", DEVICES, given, kind)
    assert reply.status_code == 201
    made = decode(reply)
    assert made.keys() <= KNOWN
    assert "deviceSecret" not in made
    token = made.pop("deviceIdentityToken")
    assert token["token"].startswith(f"{server.app}.")
    assert token["keyName"] == server.key.name
    assert (token["deviceId"], token["clientId"]) == ("d/é,1", "ann")
    assert token["issued"] < token["expires"]
    (in_list,) = decode(await server.client.get(DEVICES, headers={"Accept": kind}))
    assert in_list == made
    alone = decode(await server.client.get(one("d/é,1"), headers={"Accept": kind}))
    assert alone == {**made, "deviceSecret": "geheim"}
    modified = alone.pop("modified")
    assert type(modified) is int
    assert alone == {**given, "push": {"recipient": APNS, "state": "ACTIVE"}}


async def test_put_makes_a_device_and_replaces_it(server: RestServer) -> None:
    first = await send(server.client, "PUT", one(), new_device(clientId="ann", metadata={"a": 1}))
    assert (first.status_code, decode(first)["clientId"]) == (200, "ann")
    body = {**new_device(recipient=FCM, formFactor="tablet"), "id": None}
    second = decode(await send(server.client, "PUT", one(), body))
    assert second["formFactor"] == "tablet"
    assert second["push"] == {"recipient": FCM, "state": "ACTIVE"}
    assert not second.keys() & {"clientId", "metadata", "deviceIdentityToken"}
    assert await listed(server) == ["dev"]
    assert await listed(server, clientId="ann") == []


async def test_patch_changes_what_it_names(server: RestServer) -> None:
    await register(server, clientId="ann", metadata={"a": 1, "b": 2}, deviceSecret="s")
    for change, expected in (
        ({"metadata": {"c": 3}}, {"metadata": {"c": 3}, "clientId": "ann"}),
        ({"clientId": "bob"}, {"metadata": {"c": 3}, "clientId": "bob"}),
        ({"push": {"recipient": FCM}}, {"push": {"recipient": FCM, "state": "ACTIVE"}}),
        ({"push.recipient": APNS, "push.state": "Active"}, {"clientId": "bob"}),
        ({"platform": "android", "formFactor": "car"}, {"platform": "ios", "formFactor": "phone"}),
    ):
        reply = await send(server.client, "PATCH", one(), change)
        assert reply.status_code == 200, reply.text
        device = decode(reply)
        assert {name: device[name] for name in expected} == expected
    assert await listed(server, clientId="ann") == []
    assert await listed(server, clientId="bob") == ["dev"]
    reply = await send(server.client, "PATCH", one(), {"clientId": None, "metadata": None})
    assert not decode(reply).keys() & {"clientId", "metadata"}
    device = await get(server)
    assert (device["push"]["recipient"], device["deviceSecret"]) == (APNS, "s")
    assert await listed(server, clientId="bob") == []


async def test_a_new_address_heals_a_device(server: RestServer) -> None:
    await register(server)
    error = {"code": 103005, "message": "gone", "statusCode": 400}
    failed = ReportDevice(server.app, "dev", 1, "FAILED", 3, error)
    await server.broker.submit(failed, app=server.app)
    assert (await get(server))["push"] == {"recipient": APNS, "state": "FAILED", "error": error}
    await send(server.client, "PATCH", one(), {"metadata": {}})
    assert (await get(server))["push"]["state"] == "FAILED"
    await send(server.client, "PATCH", one(), {"push": {"recipient": FCM}})
    assert (await get(server))["push"] == {"recipient": FCM, "state": "ACTIVE"}


async def test_nesting_spelt_with_dots(server: RestServer) -> None:
    body = {"id": "dev", "platform": "ios", "formFactor": "tv", "push.recipient": APNS}
    assert (await send(server.client, "POST", DEVICES, body)).status_code == 201
    assert (await get(server))["push"]["recipient"] == APNS


async def test_a_form_registers_a_device(server: RestServer) -> None:
    form = {
        "id": "dev",
        "platform": "android",
        "formFactor": "phone",
        "clientId": "ann",
        "metadata": '{"a":[1]}',
        "push.recipient": '{"transportType":"fcm","registrationToken":"r"}',
        "push.state": "Active",
    }
    reply = await server.client.put(one(), data=form)
    assert reply.status_code == 200, reply.text
    device = await get(server)
    assert device["metadata"] == {"a": [1]}
    assert (device["clientId"], device["push"]["recipient"]) == ("ann", FCM)
    nested = {"push": '{"recipient":{"transportType":"apns","deviceToken":"7f01"}}'}
    reply = await server.client.patch(one(), data=nested)
    assert decode(reply)["push"]["recipient"] == APNS


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
        ({"id": "x" * 257}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"platform": "symbian"}, "platform"),
        ({"platform": ["ios"]}, "platform"),
        ({"formFactor": None}, "formFactor"),
        ({"push": None}, "push.recipient"),
        ({"push": {"color": "red"}}, "push.recipient"),
        ({"push": {"recipient": "apns"}}, "push.recipient"),
        ({"push": {"recipient": {"transportType": "pigeon"}}}, "transportType"),
        ({"push": {"recipient": {"transportType": "apns"}}}, "deviceToken"),
        ({"push": {"recipient": {"transportType": "gcm"}}}, "registrationToken"),
        ({"push": {"recipient": {"transportType": "web"}}}, "targetUrl and encryptionKey"),
        ({"push": {"recipient": {"transportType": "webhook"}}}, "url"),
        ({"push": {"recipient": {"transportType": "ablyChannel"}}}, "channel and ablyKey"),
        ({"push": {"recipient": {**APNS, "transportType": ["apns"]}}}, "transportType"),
        ({"deviceSecret": 5}, "deviceSecret"),
        ({"metadata": "text"}, "metadata"),
        ({"metadata": [1]}, "metadata"),
    ],
)
async def test_devices_that_make_no_sense(
    server: RestServer, fields: dict[str, Any], named: str
) -> None:
    before = server.broker.log.position
    reply = await send(server.client, "POST", DEVICES, {**new_device(), **fields})
    assert error_of(reply) == (400, 40000)
    assert named in decode(reply)["error"]["message"]
    assert server.broker.log.position == before


@pytest.mark.parametrize("client_id", [5, ["ann"], {"a": 1}, "*", True])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_clients_that_nobody_can_be(server: RestServer, method: str, client_id: Any) -> None:
    await register(server, clientId="ann")
    before = server.broker.log.position
    path = DEVICES if method == "POST" else one()
    reply = await send(server.client, method, path, {**new_device(), "clientId": client_id})
    assert error_of(reply) == (400, 40012)
    assert server.broker.log.position == before
    assert (await get(server))["clientId"] == "ann"


async def test_what_is_too_large(server: RestServer) -> None:
    large = {"x": "y" * 65_536}
    for fields in ({"metadata": large}, {"push": {"recipient": {**APNS, **large}}}):
        reply = await send(server.client, "POST", DEVICES, {**new_device(), **fields})
        assert error_of(reply) == (400, 40009)


async def test_the_body_and_the_path_name_one_device(server: RestServer) -> None:
    reply = await send(server.client, "PUT", one("other"), new_device("dev"))
    assert error_of(reply) == (400, 40000)
    for body in ([], "text", 5, None):
        assert error_of(await send(server.client, "PUT", one(), body))[0] == 400
        assert error_of(await send(server.client, "PATCH", one(), body))[0] == 400
    assert await listed(server) == []


async def test_who_is_not_there(server: RestServer) -> None:
    assert error_of(await server.client.get(one("gone"))) == (404, 40400)
    assert error_of(await send(server.client, "PATCH", one("gone"), {})) == (404, 40400)
    for method in ("GET", "POST"):
        reply = await server.client.request(method, one("gone", "/resetUpdateToken"))
        assert error_of(reply) == (404, 40400)
    for path in (one("gone"), f"{DEVICES}?deviceId=gone", f"{DEVICES}?clientId=gone"):
        reply = await server.client.delete(path)
        assert (reply.status_code, reply.content) == (204, b"")


async def test_update_tokens(server: RestServer) -> None:
    await register(server)
    path = one(below="/resetUpdateToken")
    found = [decode(await server.client.request(m, path)) for m in ("GET", "POST")]
    assert found[0]["updateToken"] != found[1]["updateToken"]
    assert found[0].keys() <= KNOWN
    before = server.broker.log.position
    assert (await server.client.head(path)).status_code == 200
    assert server.broker.log.position == before


async def test_filters(server: RestServer) -> None:
    for id_, client in (("a", "ann"), ("b", "ann"), ("c", "bob"), ("d", None)):
        await register(server, id_, clientId=client)
    assert sorted(await listed(server)) == ["a", "b", "c", "d"]
    assert sorted(await listed(server, clientId="ann")) == ["a", "b"]
    assert await listed(server, deviceId="c") == ["c"]
    assert await listed(server, deviceId="c", clientId="bob") == ["c"]
    assert await listed(server, deviceId="c", clientId="ann") == []
    assert await listed(server, deviceId="nobody") == []
    assert await listed(server, clientId="nobody") == []


@pytest.mark.parametrize("client", [None, "ann é,&"])
async def test_pages(server: RestServer, client: str | None) -> None:
    ids = {f"d{number}" for number in range(7)}
    for id_ in ids:
        await register(server, id_, clientId=client)
    await register(server, "stranger", clientId="bob")
    wanted = ids if client else ids | {"stranger"}
    params: Any = {"limit": "3", **({"clientId": client} if client else {})}
    pages = []
    while params:
        reply = await server.client.get(DEVICES, params=params)
        pages.append([device["id"] for device in decode(reply)])
        found = links(reply, "deviceRegistrations")
        assert {"first", "current"} <= found.keys()
        again = await server.client.get(f"{DEVICES}?{found['current']}")
        assert again.content == reply.content
        params = parse_qs(found["next"]) if "next" in found else None
    assert [len(page) for page in pages[:-1]] == [3] * (len(pages) - 1)
    assert sorted(id_ for page in pages for id_ in page) == sorted(wanted)


async def test_limits(server: RestServer) -> None:
    await register(server)
    reply = await server.client.get(f"{DEVICES}?limit=5000")
    assert reply.status_code == 200
    assert links(reply, "deviceRegistrations")["first"] == "limit=1000"
    for bad in ("limit=0", "limit=x", "cursor=!"):
        assert error_of(await server.client.get(f"{DEVICES}?{bad}")) == (400, 40003)


async def test_removing_devices(server: RestServer) -> None:
    for id_, client in (("a", "ann"), ("b", "ann"), ("c", "bob"), ("d", None), ("e", None)):
        await register(server, id_, clientId=client)
    both = {"deviceId": "c", "clientId": "bob"}
    assert error_of(await server.client.delete(DEVICES, params=both)) == (400, 40000)
    for path, left in (
        (one("d"), ["a", "b", "c", "e"]),
        (f"{DEVICES}?deviceId=c", ["a", "b", "e"]),
        (f"{DEVICES}?clientId=ann", ["e"]),
    ):
        reply = await server.client.delete(path)
        assert (reply.status_code, reply.content) == (204, b"")
        assert "content-type" not in reply.headers
        assert sorted(await listed(server)) == left
    await register(server, "a")
    assert (await server.client.delete(DEVICES)).status_code == 204
    assert await listed(server) == []


async def test_removing_more_devices_than_go_at_once(server: RestServer) -> None:
    push = server.broker.push
    for number in range(REMOVED_AT_ONCE + 1):
        reply = await send(server.client, "POST", DEVICES, new_device(f"d{number}"))
        assert reply.status_code == 201
    assert (await server.client.delete(DEVICES)).status_code == 204
    assert (await push.lists.devices(server.app, limit=1)).items == ()


async def test_a_device_takes_its_subscriptions_along(server: RestServer) -> None:
    await enable_push(server)
    await register(server, clientId="ann")
    for target in ({"deviceId": "dev"}, {"clientId": "ann"}):
        reply = await send(server.client, "POST", SUBSCRIPTIONS, {"channel": "push:a", **target})
        assert reply.status_code == 201
    await server.client.delete(one())
    left = decode(await server.client.get(SUBSCRIPTIONS))
    assert left == [{"channel": "push:a", "clientId": "ann"}]


async def test_apps_do_not_see_each_other(server: RestServer) -> None:
    await register(server)
    other = await server.broker.apps.ensure_key("other.k:a-secret-of-forty-characters-0123456789")
    stranger = await server.connect(basic(other.string))
    assert error_of(await stranger.get(one())) == (404, 40400)
    assert decode(await stranger.get(DEVICES)) == []
    await stranger.delete(DEVICES)
    assert await listed(server) == ["dev"]


async def test_a_secret_stays_until_another_is_given(server: RestServer) -> None:
    await send(server.client, "POST", DEVICES, new_device("dev", deviceSecret="geheim"))
    await send(server.client, "PUT", one("dev"), new_device("dev"))
    assert (await get(server))["deviceSecret"] == "geheim"
    await send(server.client, "PUT", one("dev"), new_device("dev", deviceSecret="anders"))
    assert (await get(server))["deviceSecret"] == "anders"
