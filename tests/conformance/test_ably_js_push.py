"""ably-js administers push, in both formats: node/push.mjs makes the calls, and reads its pages."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conformance.push_server import channel_address, new_key, push_serving
from tests.conformance.realtime.node_sdk import HOME, missing
from tests.conformance.serving import ServerProcess, token

pytestmark = pytest.mark.conformance

REQUIRED = "TIDELOG_REQUIRE_SDK_TESTS"
FCM = {"transportType": "fcm", "registrationToken": "r"}
DEVICES, SUBSCRIPTIONS = "deviceRegistrations", "channelSubscriptions"
TURNS_MAX = 200
Calls = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    if lack := missing():
        if os.environ.get(REQUIRED):
            pytest.fail(f"{lack}, and {REQUIRED} is set")
        pytest.skip(lack)
    with push_serving(tmp_path_factory.mktemp("push") / "data") as started:
        yield started


@pytest.fixture
def key(server: ServerProcess) -> str:
    return new_key(server)


@pytest.fixture(params=[False, True], ids=["json", "msgpack"])
def calls(request: pytest.FixtureRequest, server: ServerProcess, key: str) -> Calls:
    """Makes calls, of this key or of other options, and returns what came of each."""

    def make(*made: list[Any], **options: Any) -> list[dict[str, Any]]:
        given = {
            "endpoint": "localhost",
            "port": server.port,
            "tls": False,
            "useBinaryProtocol": request.param,
            "token": token(key=key),
            **options,
        }
        ran = subprocess.run(
            ["node", str(HOME / "push.mjs")],
            input=json.dumps({"options": given, "calls": made}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        results: list[dict[str, Any]] = json.loads(ran.stdout)
        return results

    return make


def device(id_: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "platform": "android",
        "formFactor": "phone",
        "push": {"recipient": FCM},
        "deviceSecret": "geheim",
        **fields,
    }


def items(result: dict[str, Any]) -> list[Any]:
    return [one for page in result["pages"] for one in page]


def ids(result: dict[str, Any]) -> list[str]:
    """Of all pages, sorted."""
    return sorted(one["id"] for one in items(result))


def refusal(result: dict[str, Any]) -> tuple[int, int]:
    return result["error"]["statusCode"], result["error"]["code"]


def test_devices(calls: Calls) -> None:
    given = device("a/1", clientId="é", metadata={"n": [1, {"a.b": "c"}]})
    saved, found, again, unknown, bad = calls(
        [f"{DEVICES}.save", given],
        [f"{DEVICES}.get", "a/1"],
        [f"{DEVICES}.save", device("a/1", formFactor="tablet")],
        [f"{DEVICES}.get", "nobody"],
        [f"{DEVICES}.save", device("b", platform="symbian")],
    )
    active = {"recipient": FCM, "state": "ACTIVE"}
    assert {**found["value"], "modified": None} == {**given, "push": active, "modified": None}
    assert saved["value"]["push"] == active
    assert again["value"]["formFactor"] == "tablet"
    assert "clientId" not in again["value"]
    assert refusal(unknown) == (404, 40400)
    assert refusal(bad) == (400, 40000)


def test_devices_by_pages_and_removed(calls: Calls) -> None:
    devices = [device(f"d{n}", clientId="ann" if n % 2 else "bob") for n in range(7)]
    calls(*([f"{DEVICES}.save", one] for one in devices))
    everything, anns, one, *removed, left = calls(
        [f"{DEVICES}.list", {"limit": 3}],
        [f"{DEVICES}.list", {"clientId": "ann", "limit": 2}],
        [f"{DEVICES}.list", {"deviceId": "d4"}],
        [f"{DEVICES}.remove", "d4"],
        [f"{DEVICES}.remove", "d4"],
        [f"{DEVICES}.removeWhere", {"deviceId": "d6"}],
        [f"{DEVICES}.removeWhere", {"clientId": "ann"}],
        [f"{DEVICES}.list", {}],
    )
    assert [len(page) for page in everything["pages"]] == [3, 3, 1]
    assert ids(everything) == [f"d{n}" for n in range(7)]
    assert ids(anns) == ["d1", "d3", "d5"]
    assert ids(one) == ["d4"]
    assert not any("error" in result for result in removed)
    assert ids(left) == ["d0", "d2"]


def test_subscriptions(calls: Calls) -> None:
    wanted = [{"channel": f"push:{n}", "deviceId": "dev"} for n in range(3)]
    wanted.append({"channel": "push:0", "clientId": "ann"})
    _, *saved = calls(
        [f"{DEVICES}.save", device("dev")], *([f"{SUBSCRIPTIONS}.save", one] for one in wanted)
    )
    assert [result["value"] for result in saved] == wanted
    both = {"deviceId": "dev", "clientId": "ann", "concatFilters": True, "limit": 1}
    paged, of_zero, either, names, *_, left, plain, unknown = calls(
        [f"{SUBSCRIPTIONS}.list", {"limit": 3}],
        [f"{SUBSCRIPTIONS}.list", {"channel": "push:0"}],
        [f"{SUBSCRIPTIONS}.list", both],
        [f"{SUBSCRIPTIONS}.listChannels", {"limit": 2}],
        [f"{SUBSCRIPTIONS}.remove", wanted[0]],
        [f"{SUBSCRIPTIONS}.removeWhere", {"clientId": "ann"}],
        [f"{SUBSCRIPTIONS}.list", {}],
        [f"{SUBSCRIPTIONS}.save", {"channel": "plain", "deviceId": "dev"}],
        [f"{SUBSCRIPTIONS}.save", {"channel": "push:0", "deviceId": "gone"}],
    )
    assert sorted(map(len, paged["pages"])) == [1, 3]
    assert len(items(of_zero)) == 2
    assert [len(page) for page in either["pages"]] == [1, 1, 1, 1]
    assert names["pages"] == [["push:0", "push:1"], ["push:2"]]
    assert len(items(left)) == 2
    assert refusal(plain) == (401, 40100)
    assert refusal(unknown) == (404, 40400)


def test_notifications_arrive(calls: Calls, server: ServerProcess, key: str) -> None:
    """Published to an address, a device and a client; and by a message of a channel."""
    address = channel_address(server, key, "arrivals")
    payload = {"notification": {"title": "é"}, "data": {"a": "b"}}
    message = {"name": "n", "data": "d", "extras": {"push": payload}}
    results = calls(
        [f"{DEVICES}.save", device("dev", clientId="ann", push={"recipient": address})],
        [f"{SUBSCRIPTIONS}.save", {"channel": "push:a", "clientId": "ann"}],
        ["publish", address, payload],
        ["publish", {"deviceId": "dev"}, payload],
        ["publish", {"clientId": "ann"}, payload],
        ["channel:push:a.publish", message],
    )
    assert not any("error" in result for result in results)
    found = arrivals(calls, 4)
    assert [one["name"] for one in found] == ["__ably_push__"] * 4
    assert [json.loads(one["data"]) for one in found] == [payload] * 4


def arrivals(calls: Calls, count: int) -> list[Any]:
    """Asked for until they are there: a REST client has nothing that tells it."""
    for _ in range(TURNS_MAX):
        (history,) = calls(["channel:arrivals.history", {}])
        found = items(history)
        if len(found) >= count:
            break
    assert len(found) == count
    return found


@pytest.mark.parametrize(
    ("recipient", "payload"),
    [({"random": "value"}, {"data": {}}), ({"clientId": "ann"}, {"xxx": 5}), ({}, {"data": {}})],
)
def test_notifications_that_are_refused(calls: Calls, recipient: Any, payload: Any) -> None:
    (result,) = calls(["publish", recipient, payload])
    assert refusal(result) == (400, 40000)


def test_who_may_only_subscribe(calls: Calls, server: ServerProcess, key: str) -> None:
    """Its own client's devices, and no more."""
    claims = {"x-ably-capability": '{"*":["push-subscribe"]}', "x-ably-clientId": "ann"}
    saved, subscribed, other, listed, published = calls(
        [f"{DEVICES}.save", device("dev", clientId="ann")],
        [f"{SUBSCRIPTIONS}.save", {"channel": "push:a", "deviceId": "dev"}],
        [f"{DEVICES}.save", device("other", clientId="bob")],
        [f"{DEVICES}.list", {}],
        ["publish", {"deviceId": "dev"}, {"data": {}}],
        token=token(key=key, claims=claims),
    )
    assert saved["value"]["clientId"] == "ann"
    assert "error" not in subscribed
    assert [refusal(result) for result in (other, listed, published)] == [(401, 40160)] * 3
