"""The PyPI `ably` SDK administers push: devices, subscriptions, notifications; both formats.

It raises for any field that it does not know, so that it reads a reply says that it has none.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from ably import AblyRest
from ably.types.device import DeviceDetails
from ably.types.message import Message
from ably.util.exceptions import AblyAuthException, AblyException

from tests.conformance.on_asyncio import on_asyncio
from tests.conformance.push_server import channel_address, new_key, push_serving
from tests.conformance.serving import ServerProcess, token

pytestmark = pytest.mark.conformance

APNS = {"transportType": "apns", "deviceToken": "7f01"}
WITHIN_S = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with push_serving(tmp_path_factory.mktemp("push") / "data") as started:
        yield started


@pytest.fixture
def key(server: ServerProcess) -> str:
    return new_key(server)


@pytest.fixture(params=[False, True], ids=["json", "msgpack"])
def sdk(request: pytest.FixtureRequest, server: ServerProcess, key: str) -> Callable[[], AblyRest]:
    def client(**options: Any) -> AblyRest:
        return AblyRest(
            token=token(key=key),
            endpoint="localhost",
            port=server.port,
            tls=False,
            use_binary_protocol=request.param,
            **options,
        )

    return client


def device(id_: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "platform": "ios",
        "formFactor": "phone",
        "push": {"recipient": APNS},
        "deviceSecret": "geheim",
        **fields,
    }


async def everything(page: Any) -> list[Any]:
    items = list(page.items)
    while page.has_next():
        page = await page.next()
        items += page.items
    return items


async def refusal(asking: Awaitable[Any], kind: type[AblyException] = AblyException) -> Any:
    with pytest.raises(kind) as refused:
        await asking
    return refused.value.status_code, refused.value.code


@on_asyncio
async def test_devices_are_saved_and_found(sdk: Callable[[], AblyRest]) -> None:
    async with sdk() as ably:
        devices = ably.push.admin.device_registrations
        saved = await devices.save(device("a-1", clientId="é", metadata={"n": [1]}))
        assert isinstance(saved, DeviceDetails)
        found = await devices.get("a-1")
        assert (found.id, found.client_id, found.device_secret) == ("a-1", "é", "geheim")
        assert found.metadata == {"n": [1]}
        assert found.push == {"recipient": APNS, "state": "ACTIVE"}
        assert found.modified == saved.modified
        again = await devices.save(device("a-1", formFactor="tablet"))
        assert (again.form_factor, again.client_id) == ("tablet", None)
        assert await refusal(devices.get("nobody")) == (404, 40400)
        bad = device("b", push={"color": "red"})
        assert await refusal(devices.save(bad)) == (400, 40000)


@on_asyncio
async def test_devices_are_listed_by_pages_and_removed(sdk: Callable[[], AblyRest]) -> None:
    async with sdk() as ably:
        devices = ably.push.admin.device_registrations
        for number in range(7):
            await devices.save(device(f"d{number}", clientId="ann" if number % 2 else "bob"))
        paged = await everything(await devices.list(limit=3))
        assert sorted(one.id for one in paged) == [f"d{number}" for number in range(7)]
        anns = await everything(await devices.list(clientId="ann", limit=2))
        assert sorted(one.id for one in anns) == ["d1", "d3", "d5"]
        assert len((await devices.list(limit=5000)).items) == 7
        assert [one.id for one in (await devices.list(deviceId="d4")).items] == ["d4"]
        assert (await devices.remove("d4")).status_code == 204
        assert (await devices.remove("d4")).status_code == 204
        assert (await devices.remove_where(deviceId="d6")).status_code == 204
        assert (await devices.remove_where(clientId="ann")).status_code == 204
        assert sorted(one.id for one in (await devices.list()).items) == ["d0", "d2"]


@on_asyncio
async def test_subscriptions(sdk: Callable[[], AblyRest]) -> None:
    async with sdk() as ably:
        await ably.push.admin.device_registrations.save(device("dev"))
        subscriptions = ably.push.admin.channel_subscriptions
        for number in range(4):
            wanted = {"channel": f"push:{number}", "deviceId": "dev"}
            saved = await subscriptions.save(wanted)
            assert saved.as_dict() == wanted
        anns = {"channel": "push:0", "clientId": "ann"}
        await subscriptions.save(anns)
        assert len(await everything(await subscriptions.list(limit=2))) == 5
        of_zero = await everything(await subscriptions.list(channel="push:0", limit=1))
        assert len(of_zero) == 2
        either = await subscriptions.list(deviceId="dev", clientId="ann", concatFilters="true")
        assert len(either.items) == 5
        names = await everything(await subscriptions.list_channels(limit=3))
        assert names == [f"push:{number}" for number in range(4)]
        assert (await subscriptions.remove(anns)).status_code == 204
        assert (await subscriptions.list(clientId="ann")).items == []
        await subscriptions.remove_where(channel="push:3", deviceId="dev")
        assert await everything(await subscriptions.list_channels()) == names[:3]
        assert await refusal(subscriptions.remove_where(channel="push:0")) == (400, 40000)
        await subscriptions.remove_where(deviceId="dev")
        assert (await subscriptions.list()).items == []
        await subscriptions.save({"channel": "push:0", "deviceId": "dev"})
        await ably.push.admin.device_registrations.remove("dev")
        assert (await subscriptions.list()).items == []


@on_asyncio
async def test_subscriptions_that_are_refused(sdk: Callable[[], AblyRest]) -> None:
    async with sdk() as ably:
        await ably.push.admin.device_registrations.save(device("dev"))
        save = ably.push.admin.channel_subscriptions.save
        plain = {"channel": "plain", "deviceId": "dev"}
        assert await refusal(save(plain), AblyAuthException) == (401, 40100)
        unknown = {"channel": "push:a", "deviceId": "gone"}
        assert await refusal(save(unknown)) == (404, 40400)


@on_asyncio
async def test_notifications_arrive(
    sdk: Callable[[], AblyRest], server: ServerProcess, key: str
) -> None:
    """The SDK refuses devices that are channels: it is told of one by a request of its own."""
    address = channel_address(server, key, "arrivals")
    body = device("dev", clientId="ann", push={"recipient": address})
    async with sdk() as ably:
        made = await ably.request("POST", "/push/deviceRegistrations", "5", body=body)
        assert made.status_code == 201
        publish = ably.push.admin.publish
        for recipient in (address, {"deviceId": "dev"}, {"clientId": "ann"}):
            data = {"to": len(recipient)}
            await publish(recipient, {"data": data, "notification": {"title": "é"}})
        await publish({"clientId": "nobody"}, {"data": {}})
        found = await arrivals(ably.channels.get("arrivals"), 3)
        assert {message.name for message in found} == {"__ably_push__"}
        payloads = [json.loads(message.data) for message in found]
        assert sorted(one["data"]["to"] for one in payloads) == [1, 1, 4]
        assert all(one["notification"] == {"title": "é"} for one in payloads)


@on_asyncio
async def test_a_message_notifies(
    sdk: Callable[[], AblyRest], server: ServerProcess, key: str
) -> None:
    address = channel_address(server, key, "arrivals")
    body = device("dev", push={"recipient": address})
    async with sdk() as ably:
        await ably.request("POST", "/push/deviceRegistrations", "5", body=body)
        wanted = {"channel": "push:a", "deviceId": "dev"}
        await ably.push.admin.channel_subscriptions.save(wanted)
        payload = {"notification": {"title": "t"}, "data": {"a": "b"}}
        await ably.channels.get("push:a").publish(Message("n", "d", extras={"push": payload}))
        (found,) = await arrivals(ably.channels.get("arrivals"), 1)
        assert json.loads(found.data) == payload


async def arrivals(channel: Any, count: int) -> list[Any]:
    """The SDK has no connection to be told by here: it asks until they are there."""
    async with asyncio.timeout(WITHIN_S):
        while len(found := (await channel.history()).items) < count:
            await asyncio.sleep(0.01)
    assert len(found) == count
    return list(found)


@pytest.mark.parametrize(
    ("recipient", "data"),
    [
        ({"random": "value"}, {"data": {}}),
        ({"transportType": "apns"}, {"data": {}}),
        ({"clientId": "ann"}, {"xxx": 5}),
        ({"clientId": "ann"}, {"notification": "text"}),
    ],
)
@on_asyncio
async def test_notifications_that_are_refused(
    sdk: Callable[[], AblyRest], recipient: Any, data: Any
) -> None:
    async with sdk() as ably:
        assert await refusal(ably.push.admin.publish(recipient, data)) == (400, 40000)
