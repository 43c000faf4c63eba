"""Who may do what about push: admins, clients about their own devices, devices about themselves."""

from typing import Any

import httpx
import pytest

from api.rest.push_caller import SECRET, TOKEN
from tests.api.push_bodies import APNS, DEVICES, SUBSCRIPTIONS, enable_push, new_device
from tests.api.rest_server import RestServer, basic, bearer, decode, error_of
from tests.api.test_rest_push_devices import (
    FCM,
    NOT_PERMITTED,
    as_client,
    get,
    listed,
    one,
    register,
    send,
    with_token,
)

ANNS = {"channel": "push:a", "clientId": "ann"}
DEVS = {"channel": "push:a", "deviceId": "dev"}
NOTICE = {"recipient": {"deviceId": "dev"}, "notification": {"title": "t"}}


async def subscribe(client: httpx.AsyncClient, wanted: Any) -> httpx.Response:
    return await client.post(SUBSCRIPTIONS, json=wanted)


ADMINS = [
    ("GET", DEVICES, None),
    ("DELETE", DEVICES, None),
    ("GET", SUBSCRIPTIONS, None),
    ("GET", "/push/channels", None),
    ("POST", "/push/publish", NOTICE),
    ("POST", "/push/batch/publish", [{"recipient": {"deviceId": "dev"}, "payload": {"data": 1}}]),
    ("PATCH", "/push/deviceRegistrations/dev", {"metadata": {"a": 1}}),
    ("PATCH", "/push/deviceRegistrations/dev", {"clientId": "bob"}),
]


@pytest.mark.parametrize(("method", "path", "body"), ADMINS)
async def test_what_only_admins_may(server: RestServer, method: str, path: str, body: Any) -> None:
    device = await with_token(server, clientId="ann")
    ordinary = await server.broker.apps.create_key(server.app, granted='{"*":["publish"]}')
    before = server.broker.log.position
    for client in (device, await as_client(server), await server.connect(basic(ordinary.string))):
        reply = await client.request(method, path, json=body)
        assert error_of(reply) == NOT_PERMITTED
    assert error_of(await (await server.connect({})).request(method, path, json=body)) == (
        401,
        40101,
    )
    assert server.broker.log.position == before
    reply = await server.client.request(method, path, json=body)
    assert reply.is_success, reply.text


async def test_a_client_sees_to_its_own_devices(server: RestServer) -> None:
    await enable_push(server)
    await register(server, "bobs", clientId="bob")
    await register(server, "nobodys")
    ann = await as_client(server)
    reply = await send(ann, "POST", DEVICES, new_device(clientId="ann"))
    assert reply.status_code == 201
    assert decode(await ann.get(one()))["clientId"] == "ann"
    assert (await send(ann, "PUT", one(), new_device(clientId="ann"))).status_code == 200
    assert (await send(ann, "PATCH", one(), {"push.recipient": FCM})).status_code == 200
    assert (await subscribe(ann, ANNS)).status_code == 201
    assert (await subscribe(ann, DEVS)).status_code == 201
    for params in ({"clientId": "ann"}, {"deviceId": "dev"}):
        assert len(decode(await ann.get(SUBSCRIPTIONS, params=params))) == 1
    both = {"clientId": "ann", "deviceId": "dev", "concatFilters": "true"}
    assert len(decode(await ann.get(SUBSCRIPTIONS, params=both))) == 2
    assert (await ann.delete(SUBSCRIPTIONS, params=ANNS)).status_code == 204
    assert (await ann.delete(DEVICES, params={"clientId": "ann"})).status_code == 204
    assert sorted(await listed(server)) == ["bobs", "nobodys"]


async def test_a_client_sees_to_nobody_elses(server: RestServer) -> None:
    await enable_push(server)
    await register(server, "dev", clientId="bob", deviceSecret="s")
    await register(server, "free")
    before = server.broker.log.position
    ann = await as_client(server)
    stolen = new_device(clientId="ann")
    bobs = {"channel": "push:a", "clientId": "bob"}
    for reply in (
        await ann.get(one()),
        await ann.delete(one()),
        await send(ann, "POST", DEVICES, stolen),
        await send(ann, "PUT", one(), stolen),
        await send(ann, "PUT", one("free"), {**stolen, "id": "free"}),
        await send(ann, "PUT", one("new"), new_device("new", clientId="bob")),
        await send(ann, "POST", DEVICES, new_device("new", clientId="bob")),
        await send(ann, "PATCH", one(), {"push.recipient": FCM}),
        await ann.post(one(below="/resetUpdateToken")),
        await ann.delete(DEVICES, params={"clientId": "bob"}),
        await ann.delete(DEVICES, params={"deviceId": "dev"}),
        await subscribe(ann, DEVS),
        await subscribe(ann, bobs),
        await ann.get(SUBSCRIPTIONS, params=bobs),
        await ann.get(SUBSCRIPTIONS, params=DEVS),
        await ann.delete(SUBSCRIPTIONS, params=bobs),
        await ann.get(one(), headers={SECRET: "t"}),
        await ann.get(one(), headers={SECRET: "é".encode()}),
    ):
        assert error_of(reply) == NOT_PERMITTED, reply.request.url
    assert server.broker.log.position == before


async def test_a_clients_device_is_its_own_without_saying_so(server: RestServer) -> None:
    """ably-js leaves the client out where its options do not name it."""
    ann = await as_client(server)
    for method, path in (("POST", DEVICES), ("PUT", one("put"))):
        new = new_device(path.rpartition("/")[2] if method == "PUT" else "dev")
        assert decode(await send(ann, method, path, new))["clientId"] == "ann"


async def test_whoever_may_subscribe_registers_a_device_of_nobody(server: RestServer) -> None:
    """It is its token's from then on: another stranger can do nothing about it."""
    claims = {"x-ably-capability": '{"*":["push-subscribe"]}'}
    stranger = await server.connect(bearer(server.token(**claims)))
    reply = await send(stranger, "POST", DEVICES, new_device())
    assert reply.status_code == 201
    assert "clientId" not in decode(reply)
    for again in (
        await send(stranger, "POST", DEVICES, new_device()),
        await send(stranger, "PUT", one(), new_device()),
        await stranger.get(one()),
        await stranger.delete(one()),
        await send(stranger, "POST", DEVICES, new_device("other", clientId="ann")),
    ):
        assert error_of(again) == NOT_PERMITTED
    token = {TOKEN: decode(reply)["deviceIdentityToken"]["token"]}
    assert (await stranger.get(one(), headers=token)).status_code == 200


async def test_who_may_not_subscribe_may_nothing(server: RestServer) -> None:
    claims = {"x-ably-capability": '{"*":["publish"]}', "x-ably-clientId": "ann"}
    client = await server.connect(bearer(server.token(**claims)))
    await register(server, clientId="ann")
    assert error_of(await client.get(one())) == NOT_PERMITTED
    assert error_of(await send(client, "POST", DEVICES, new_device("n"))) == NOT_PERMITTED


@pytest.mark.parametrize("way", ["header", "bearer", "base64", "query"])
async def test_a_device_is_known_by_its_token(server: RestServer, way: str) -> None:
    """However it comes: SDKs differ."""
    token = (await register(server, clientId="ann"))["deviceIdentityToken"]["token"]
    headers = {
        "header": {TOKEN: token},
        "bearer": {"Authorization": f"Bearer {token}"},
        "base64": bearer(token),
        "query": {},
    }[way]
    device = await server.connect(headers)
    suffix = f"?access_token={token}" if way == "query" else ""
    assert decode(await device.get(one() + suffix))["id"] == "dev"
    change = {"push": {"recipient": FCM}}
    assert (await send(device, "PATCH", one() + suffix, change)).status_code == 200
    assert (await get(server))["push"]["recipient"] == FCM
    assert (await device.delete(one() + suffix)).status_code == 204
    assert await listed(server) == []
    assert error_of(await device.delete(one() + suffix)) == NOT_PERMITTED


async def test_a_device_is_known_by_its_token_beside_other_credentials(server: RestServer) -> None:
    token = (await register(server, clientId="bob"))["deviceIdentityToken"]["token"]
    ann = await as_client(server)
    assert error_of(await ann.get(one())) == NOT_PERMITTED
    assert (await ann.get(one(), headers={TOKEN: token})).status_code == 200
    for wrong in ("nonsense", token[:-1], f"{token}x"):
        assert error_of(await ann.get(one(), headers={TOKEN: wrong}))[0] == 401


async def test_a_device_sees_to_itself_only(server: RestServer) -> None:
    await enable_push(server)
    await register(server, "other", clientId="ann")
    device = await with_token(server, clientId="ann")
    assert (await subscribe(device, DEVS)).status_code == 201
    assert decode(await device.get(SUBSCRIPTIONS, params={"deviceId": "dev"})) == [DEVS]
    before = server.broker.log.position
    for reply in (
        await device.get(one("other")),
        await device.delete(one("other")),
        await send(device, "PUT", one("other"), new_device("other", clientId="ann")),
        await send(device, "PUT", one("new"), new_device("new")),
        await send(device, "POST", DEVICES, new_device("new")),
        await device.delete(DEVICES, params={"clientId": "ann"}),
        await subscribe(device, {"channel": "push:a", "deviceId": "other"}),
        await subscribe(device, ANNS),
        await device.post("/channels/c/messages", json={}, headers=bearer(device.headers[TOKEN])),
    ):
        assert error_of(reply) == NOT_PERMITTED, reply.request.url
    assert server.broker.log.position == before
    assert (await device.delete(SUBSCRIPTIONS, params=DEVS)).status_code == 204


async def test_a_device_lists_what_it_is_told_itself_and_as_its_clients(
    server: RestServer,
) -> None:
    """RSH7e: with its own id and its client's at once."""
    await enable_push(server)
    device = await with_token(server, clientId="ann")
    for wanted in (DEVS, ANNS, {"channel": "push:a", "clientId": "bob"}):
        assert (await subscribe(server.client, wanted)).status_code == 201
    own = {"deviceId": "dev", "clientId": "ann", "concatFilters": "true"}
    assert decode(await device.get(SUBSCRIPTIONS, params=own)) == [DEVS, ANNS]
    for stranger in ({**own, "clientId": "bob"}, {"clientId": "ann"}, {**own, "deviceId": "x"}):
        assert error_of(await device.get(SUBSCRIPTIONS, params=stranger)) == NOT_PERMITTED


async def test_a_device_that_puts_itself_stays_who_it_is(server: RestServer) -> None:
    """Its client and metadata are an admin's to say, and its token goes on working."""
    device = await with_token(server, clientId="ann", metadata={"a": 1})
    changed = new_device(recipient=FCM, formFactor="tablet")
    for body in (changed, {**changed, "clientId": "ann", "metadata": {"a": 1}}):
        reply = await send(device, "PUT", one(), body)
        assert reply.status_code == 200, reply.text
        found = await get(server)
        assert (found["clientId"], found["metadata"]) == ("ann", {"a": 1})
        assert (found["formFactor"], found["push"]["recipient"]) == ("tablet", FCM)
    for stolen in ({"clientId": "bob"}, {"metadata": {"a": 2}}):
        reply = await send(device, "PUT", one(), {**changed, **stolen})
        assert error_of(reply) == NOT_PERMITTED
    assert (await send(server.client, "PUT", one(), new_device(clientId="bob"))).status_code == 200
    assert (await device.get(one())).status_code == 200


async def test_a_device_that_is_registered_again_is_another(server: RestServer) -> None:
    device = await with_token(server)
    again = await with_token(server)
    assert error_of(await device.get(one())) == NOT_PERMITTED
    assert (await again.get(one())).status_code == 200
    await server.client.delete(one())
    await register(server)
    assert error_of(await again.get(one())) == NOT_PERMITTED


async def test_a_device_is_known_by_its_secret(server: RestServer) -> None:
    """Beside credentials that may subscribe; it says nothing of any other device."""
    await enable_push(server)
    await register(server, clientId="bob", deviceSecret="geheim")
    await register(server, "other", clientId="bob", deviceSecret="anders")
    ann = await as_client(server)
    right = {SECRET: "geheim"}
    found = decode(await ann.get(one(), headers=right))
    assert found["id"] == "dev"
    assert "deviceSecret" not in found
    reply = await send(ann, "PATCH", one(), {"push.recipient": FCM}, **right)
    assert decode(reply)["push"]["recipient"] == FCM
    assert (await ann.post(SUBSCRIPTIONS, json=DEVS, headers=right)).status_code == 201
    reply = await ann.get(SUBSCRIPTIONS, params={"deviceId": "dev"}, headers=right)
    assert decode(reply) == [DEVS]
    assert error_of(await ann.get(one("other"), headers=right)) == NOT_PERMITTED
    assert error_of(await ann.get(one(), headers={SECRET: "anders"})) == NOT_PERMITTED
    nobody = await server.connect({})
    assert error_of(await nobody.get(one(), headers=right)) == (401, 40101)
    assert (await ann.delete(DEVICES, params={"deviceId": "dev"}, headers=right)).status_code == 204


async def test_secrets_are_told_to_admins_only(server: RestServer) -> None:
    device = await with_token(server, clientId="ann", deviceSecret="geheim")
    assert (await get(server))["deviceSecret"] == "geheim"
    assert "geheim" not in (await server.client.get(DEVICES)).text
    for client in (device, await as_client(server)):
        assert "geheim" not in (await client.get(one())).text
    reply = await send(server.client, "PATCH", one(), {"push.recipient": APNS})
    assert "geheim" not in reply.text


async def test_a_key_speaks_for_any_client(server: RestServer) -> None:
    granted = '{"*":["push-subscribe"]}'
    key = await server.broker.apps.create_key(server.app, granted=granted)
    client = await server.connect(basic(key.string))
    for id_, of in (("a", "ann"), ("b", "bob"), ("c", None)):
        reply = await send(client, "POST", DEVICES, new_device(id_, clientId=of))
        assert reply.status_code == 201
    assert error_of(await client.get(DEVICES)) == NOT_PERMITTED
    assert (await client.delete(DEVICES, params={"clientId": "bob"})).status_code == 204
    assert sorted(await listed(server)) == ["a", "c"]


async def test_strangers_learn_nothing_of_what_they_send(server: RestServer) -> None:
    """Who asks is looked at before what is asked."""
    nobody = await server.connect({})
    for method, path in (
        ("POST", DEVICES),
        ("PUT", one()),
        ("PATCH", one()),
        ("POST", SUBSCRIPTIONS),
        ("GET", f"{SUBSCRIPTIONS}?limit=x"),
        ("GET", f"{DEVICES}?limit=x"),
        ("DELETE", SUBSCRIPTIONS),
        ("DELETE", f"{DEVICES}?deviceId=a&clientId=b"),
        ("POST", "/push/publish"),
        ("POST", "/push/batch/publish"),
    ):
        assert error_of(await nobody.request(method, path, content=b"{")) == (401, 40101)
