"""Devices, subscriptions and notifications as clients send them: good ones, and whatever else for
the tests that try everything."""

from typing import Any

from hypothesis import strategies as st

from broker.tenancy import NamespaceRules
from tests.api.rest_server import RestServer
from tests.api.test_rest_fuzz import text, values

DEVICES = "/push/deviceRegistrations"
SUBSCRIPTIONS = "/push/channelSubscriptions"
TARGET = "target"
APNS = {"transportType": "apns", "deviceToken": "7f01"}


def new_device(id_: str = "dev", recipient: Any = None, **fields: Any) -> dict[str, Any]:
    """What registers a device; a field that is None is left out."""
    device = {
        "id": id_,
        "platform": "ios",
        "formFactor": "phone",
        "push": {"recipient": recipient or APNS},
        **fields,
    }
    return {name: value for name, value in device.items() if value is not None}


async def to_channel(server: RestServer, channel: str = TARGET) -> dict[str, Any]:
    """An address that is a channel of ours, and the key to it."""
    key = await server.broker.apps.create_key(server.app, granted='{"*":["publish"]}')
    return {
        "transportType": "ablyChannel",
        "channel": channel,
        "ablyKey": key.string,
        "ablyUrl": server.base_url,
    }


async def enable_push(server: RestServer) -> None:
    """On channels "push:…"."""
    await server.broker.apps.set_namespace(server.app, "push", NamespaceRules(push_enabled=True))


async def fill_push(server: RestServer) -> None:
    """Devices "dev" and "pad" of ann, and a subscription to each of two channels."""
    await enable_push(server)
    address = await to_channel(server)
    for id_ in ("dev", "pad"):
        device = new_device(id_, address, clientId="ann", metadata={"a.b": ["<i>"]})
        assert (await server.client.post(DEVICES, json=device)).status_code == 201
    for wanted in (
        {"channel": "push:<a>", "deviceId": "dev"},
        {"channel": "push:b", "clientId": "ann"},
    ):
        assert (await server.client.post(SUBSCRIPTIONS, json=wanted)).status_code == 201


ids = st.sampled_from(["dev", "dev", "pad"]) | text | values
recipients = (
    st.fixed_dictionaries(
        {"transportType": st.sampled_from(["apns", "fcm", "gcm", "web", "webhook", "x"]) | values},
        optional={
            "deviceToken": text | values,
            "registrationToken": text | values,
            "targetUrl": text | values,
            "encryptionKey": st.dictionaries(text, text, max_size=2) | values,
            "url": text | values,
        },
    )
    | st.just(APNS)
    | values
)
pushes = (
    st.fixed_dictionaries({"recipient": recipients}, optional={"state": text | values}) | values
)
_parts: dict[str, st.SearchStrategy[Any]] = {
    "clientId": st.sampled_from(["ann", "*", ""]) | text | values,
    "metadata": st.dictionaries(text, values, max_size=2) | values,
    "deviceSecret": text | values,
    "push.recipient": recipients,
    "push.state": text | values,
    "updateToken": text | values,
}
devices = (
    st.fixed_dictionaries(
        {
            "id": ids,
            "platform": st.sampled_from(["ios", "android", "browser"]) | values,
            "formFactor": st.sampled_from(["phone", "other"]) | values,
            "push": st.just({"recipient": APNS}) | pushes,
        },
        optional=_parts,
    )
    | values
)
device_changes = st.fixed_dictionaries({}, optional={**_parts, "push": pushes}) | values
subscriptions = (
    st.fixed_dictionaries(
        {"channel": st.sampled_from(["push:b", "push:c", "c", "[x"]) | text | values},
        optional={"deviceId": ids, "clientId": st.just("ann") | text | values},
    )
    | values
)
payloads = (
    st.fixed_dictionaries(
        {},
        optional={
            "notification": st.dictionaries(st.sampled_from(["title", "body"]), text) | values,
            "data": values,
            "apns": st.dictionaries(text, values, max_size=2) | values,
            "web": values,
        },
    )
    | values
)
selectors = (
    st.sampled_from([{"deviceId": "dev"}, {"clientId": "ann"}, {"deviceId": "gone"}])
    | st.fixed_dictionaries({}, optional={"deviceId": ids, "clientId": text | values})
    | recipients
)
notices = (
    st.builds(
        lambda payload, rest: {**payload, **rest} if isinstance(payload, dict) else rest,
        payloads,
        st.fixed_dictionaries({"recipient": selectors}, optional={"push": payloads}),
    )
    | values
)
_notice = st.fixed_dictionaries(
    {"recipient": selectors | st.lists(selectors, max_size=2), "payload": payloads}
)
notice_batches = st.lists(_notice, max_size=2) | _notice | values
PUSH_BODIES: dict[str, st.SearchStrategy[Any]] = {
    "registerPushDevice": devices,
    "putPushDeviceDetails": devices,
    "patchPushDeviceDetails": device_changes,
    "subscribePushDeviceToChannel": subscriptions,
    "publishPushNotificationToDevices": notices,
    "publishPushBatch": notice_batches,
    "publishPushBatchToo": notice_batches,
}
