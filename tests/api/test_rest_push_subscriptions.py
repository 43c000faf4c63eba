"""`/push/channelSubscriptions` and `/push/channels`: what they take, filter, page and refuse."""

from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from broker.push.events import Subscription
from broker.push.subscriptions import ENDED_AT_ONCE
from broker.tenancy import NamespaceRules
from tests.api.push_bodies import DEVICES, SUBSCRIPTIONS, enable_push, new_device
from tests.api.rest_server import JSON, TYPES, RestServer, basic, decode, error_of, links
from tests.api.test_rest_push_devices import register, send

CHANNELS = "/push/channels"


@pytest.fixture
async def pushed(server: RestServer) -> RestServer:
    """Push is enabled on "push:…", and there are devices "dev" of ann and "pad" of nobody."""
    await enable_push(server)
    await register(server, "dev", clientId="ann")
    await register(server, "pad")
    return server


async def subscribe(
    server: RestServer, channel: str, kind: str = JSON, **target: Any
) -> httpx.Response:
    return await send(server.client, "POST", SUBSCRIPTIONS, {"channel": channel, **target}, kind)


async def fill(server: RestServer) -> list[dict[str, str]]:
    """Subscriptions of every kind."""
    wanted = [
        {"channel": channel, **target}
        for channel in ("push:a", "push:b", "push:c/é &,")
        for target in ({"deviceId": "dev"}, {"deviceId": "pad"}, {"clientId": "ann"})
    ]
    for one in wanted:
        assert (await send(server.client, "POST", SUBSCRIPTIONS, one)).status_code == 201
    return wanted


async def listed(server: RestServer, **params: str) -> list[dict[str, str]]:
    reply = await server.client.get(SUBSCRIPTIONS, params=params)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, str]] = decode(reply)
    return found


def in_order(subscriptions: list[dict[str, str]]) -> list[list[tuple[str, str]]]:
    return sorted(sorted(one.items()) for one in subscriptions)


def matching(subscriptions: list[dict[str, str]], **wanted: str) -> list[dict[str, str]]:
    return [one for one in subscriptions if wanted.items() <= one.items()]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("target", [{"deviceId": "dev"}, {"clientId": "nobody yet"}])
async def test_a_subscription_on_the_wire(
    pushed: RestServer, kind: str, target: dict[str, str]
) -> None:
    """Of one of both and nothing else: ably-python raises otherwise. And once, however often."""
    for _ in range(2):
        reply = await subscribe(pushed, "push:a", kind, **target)
        assert (reply.status_code, decode(reply)) == (201, {"channel": "push:a", **target})
    found = await pushed.client.get(SUBSCRIPTIONS, headers={"Accept": kind})
    assert decode(found) == [{"channel": "push:a", **target}]
    channels = await pushed.client.get(CHANNELS, headers={"Accept": kind})
    assert decode(channels) == ["push:a"]


async def test_a_form_subscribes(pushed: RestServer) -> None:
    form = {"channel": "push:a", "deviceId": "dev"}
    reply = await pushed.client.post(SUBSCRIPTIONS, data=form)
    assert (reply.status_code, decode(reply)) == (201, form)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"channel": "push:a"}, (400, 40000)),
        ({"channel": "push:a", "deviceId": "dev", "clientId": "ann"}, (400, 40000)),
        ({"channel": "push:a", "deviceId": "", "clientId": ""}, (400, 40000)),
        ({"channel": "push:a", "deviceId": 7}, (400, 40000)),
        ({"channel": "push:a", "clientId": ["ann"]}, (400, 40000)),
        ({"deviceId": "dev"}, (400, 40000)),
        ({"channel": ["push:a"], "deviceId": "dev"}, (400, 40000)),
        ({"channel": "", "deviceId": "dev"}, (400, 40010)),
        ({"channel": "[x", "deviceId": "dev"}, (400, 40010)),
        ([], (400, 40000)),
        ({"channel": "push:a", "deviceId": "gone"}, (404, 40400)),
        ({"channel": "pushes", "deviceId": "dev"}, (401, 40100)),
        ({"channel": "other:a", "clientId": "ann"}, (401, 40100)),
    ],
)
async def test_subscriptions_that_cannot_be(
    pushed: RestServer, body: Any, expected: tuple[int, int]
) -> None:
    before = pushed.broker.log.position
    reply = await send(pushed.client, "POST", SUBSCRIPTIONS, body)
    assert error_of(reply) == expected
    assert pushed.broker.log.position == before


async def test_what_was_subscribed_stays_when_push_is_disabled(pushed: RestServer) -> None:
    await subscribe(pushed, "push:a", deviceId="dev")
    await pushed.broker.apps.set_namespace(pushed.app, "push", NamespaceRules())
    assert error_of(await subscribe(pushed, "push:b", deviceId="dev")) == (401, 40100)
    assert await listed(pushed) == [{"channel": "push:a", "deviceId": "dev"}]


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"channel": "push:a"},
        {"channel": "push:c/é &,"},
        {"channel": "push:none"},
        {"deviceId": "dev"},
        {"deviceId": "gone"},
        {"clientId": "ann"},
        {"clientId": "bob"},
        {"channel": "push:b", "deviceId": "pad"},
        {"channel": "push:b", "clientId": "ann"},
    ],
)
async def test_filters(pushed: RestServer, wanted: dict[str, str]) -> None:
    everything = await fill(pushed)
    found = await listed(pushed, **wanted)
    assert in_order(found) == in_order(matching(everything, **wanted))


@pytest.mark.parametrize("channel", [{}, {"channel": "push:b"}])
async def test_a_device_or_a_client(pushed: RestServer, channel: dict[str, str]) -> None:
    """`concatFilters` means either; without it both together are an error."""
    everything = await fill(pushed)
    both = {"deviceId": "pad", "clientId": "ann", **channel}
    found = await listed(pushed, **both, concatFilters="true")
    expected = [
        *matching(everything, deviceId="pad", **channel),
        *matching(everything, clientId="ann", **channel),
    ]
    assert in_order(found) == in_order(expected)
    for without in ({}, {"concatFilters": "false"}):
        reply = await pushed.client.get(SUBSCRIPTIONS, params={**both, **without})
        assert error_of(reply) == (400, 40000)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"channel": "push:c/é &,"},
        {"deviceId": "dev"},
        {"clientId": "ann"},
        {"deviceId": "dev", "clientId": "ann", "concatFilters": "true"},
        {"deviceId": "gone", "clientId": "ann", "concatFilters": "true"},
        {"deviceId": "dev", "clientId": "bob", "concatFilters": "true"},
    ],
)
async def test_pages(pushed: RestServer, filters: dict[str, str], limit: int) -> None:
    """Every subscription is on one page, and only the last page may be short."""
    await fill(pushed)
    everything = await listed(pushed, **filters)
    params: Any = {**filters, "limit": limit}
    pages = []
    while params:
        reply = await pushed.client.get(SUBSCRIPTIONS, params=params)
        pages.append(decode(reply))
        found = links(reply, "channelSubscriptions")
        again = await pushed.client.get(f"{SUBSCRIPTIONS}?{found['current']}")
        assert decode(again) == pages[-1]
        first = await pushed.client.get(f"{SUBSCRIPTIONS}?{found['first']}")
        assert decode(first) == pages[0]
        params = parse_qs(found["next"]) if "next" in found else None
    assert all(len(page) == limit for page in pages[:-1])
    assert [one for page in pages for one in page] == everything


async def test_channels_by_pages(pushed: RestServer) -> None:
    """By name, and only while somebody is subscribed."""
    names = [*(f"push:{number}" for number in range(5)), "push:é &,", f"push:{'x' * 1000}"]
    for name in names:
        for target in ({"deviceId": "dev"}, {"clientId": "ann"}):
            assert (await subscribe(pushed, name, **target)).status_code == 201
    params: Any = {"limit": "2"}
    pages = []
    while params:
        reply = await pushed.client.get(CHANNELS, params=params)
        pages.append(decode(reply))
        found = links(reply, "channels")
        params = parse_qs(found["next"]) if "next" in found else None
    assert [len(page) for page in pages] == [2, 2, 2, 1]
    assert [name for page in pages for name in page] == sorted(names, key=str.encode)
    await pushed.client.delete(SUBSCRIPTIONS, params={"deviceId": "dev"})
    assert len(decode(await pushed.client.get(CHANNELS))) == len(names)
    await pushed.client.delete(SUBSCRIPTIONS, params={"clientId": "ann"})
    assert decode(await pushed.client.get(CHANNELS)) == []


async def test_limits(pushed: RestServer) -> None:
    for path in (SUBSCRIPTIONS, CHANNELS):
        reply = await pushed.client.get(f"{path}?limit=5000")
        assert links(reply, path.rpartition("/")[2])["first"] == "limit=1000"
        for bad in ("limit=0", "limit=-1", "limit=1e3", "cursor=!"):
            assert error_of(await pushed.client.get(f"{path}?{bad}")) == (400, 40003)
    bad_flag = f"{SUBSCRIPTIONS}?concatFilters=maybe"
    assert error_of(await pushed.client.get(bad_flag)) == (400, 40003)


@pytest.mark.parametrize(
    "wanted",
    [
        {"deviceId": "dev"},
        {"clientId": "ann"},
        {"channel": "push:c/é &,", "deviceId": "pad"},
        {"channel": "push:b", "clientId": "ann"},
        {"channel": "push:b", "clientId": "bob"},
        {"deviceId": "gone"},
    ],
)
async def test_unsubscribing(pushed: RestServer, wanted: dict[str, str]) -> None:
    everything = await fill(pushed)
    for _ in range(2):
        reply = await pushed.client.delete(SUBSCRIPTIONS, params=wanted)
        assert (reply.status_code, reply.content) == (204, b"")
    left = [one for one in everything if one not in matching(everything, **wanted)]
    assert in_order(await listed(pushed)) == in_order(left)


@pytest.mark.parametrize(
    "wanted", [{}, {"channel": "push:a"}, {"deviceId": "dev", "clientId": "ann"}]
)
async def test_whose_are_to_go_must_be_said(pushed: RestServer, wanted: dict[str, str]) -> None:
    everything = await fill(pushed)
    reply = await pushed.client.delete(SUBSCRIPTIONS, params=wanted)
    assert error_of(reply) == (400, 40000)
    assert len(await listed(pushed)) == len(everything)


async def test_unsubscribing_from_more_than_go_at_once(pushed: RestServer) -> None:
    for number in range(ENDED_AT_ONCE + 1):
        wanted = Subscription(f"push:{number}", client_id="ann")
        await pushed.broker.push.subscribe(pushed.app, wanted)
    await subscribe(pushed, "push:0", deviceId="dev")
    reply = await pushed.client.delete(SUBSCRIPTIONS, params={"clientId": "ann"})
    assert reply.status_code == 204
    assert await listed(pushed) == [{"channel": "push:0", "deviceId": "dev"}]


async def test_apps_do_not_see_each_other(pushed: RestServer) -> None:
    await fill(pushed)
    other = await pushed.broker.apps.ensure_key("other.k:a-secret-of-forty-characters-0123456789")
    stranger = await pushed.connect(basic(other.string))
    for path in (SUBSCRIPTIONS, CHANNELS, f"{SUBSCRIPTIONS}?clientId=ann"):
        assert decode(await stranger.get(path)) == []
    await stranger.delete(SUBSCRIPTIONS, params={"clientId": "ann"})
    assert len(await listed(pushed)) == 9


async def test_a_device_that_changes_hands_keeps_its_own(pushed: RestServer) -> None:
    await fill(pushed)
    await send(pushed.client, "PUT", f"{DEVICES}/dev", new_device("dev", clientId="bob"))
    assert len(await listed(pushed, deviceId="dev")) == 3
    assert len(await listed(pushed, clientId="ann")) == 3
    assert await listed(pushed, clientId="bob") == []
