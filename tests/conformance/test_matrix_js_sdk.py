"""matrix-js-sdk sets, lists and removes pushers, and one it set is notified: node/matrix.mjs makes
the calls against a real `tidelog serve`, whose gateway is a strict one of ours."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import trio

from tests.api.push.http_gateway import serving as gateway_serving
from tests.api.push.matrix_gateway import NOTIFY, MatrixGateway
from tests.conformance.realtime.node_sdk import HOME, missing
from tests.conformance.serving import KEY, ServerProcess, serving, token

pytestmark = pytest.mark.conformance

REQUIRED = "TIDELOG_REQUIRE_SDK_TESTS"
REQUESTS_MAX = 20
OPTIONS = (
    "--set",
    "push.allow_loopback_targets=true",
    "--set",
    f"server.matrix_requests_max={REQUESTS_MAX}",
)
APP_ID = "org.example.app"
GATEWAY = f"https://gateway.example.com{NOTIFY}"
STUCK_S = 60
Results = list[dict[str, Any]]
Calls = Callable[..., Results]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    lack = missing()
    if lack is None and not (HOME / "node_modules" / "matrix-js-sdk").is_dir():
        lack = f"matrix-js-sdk is not installed: npm ci --prefix {HOME}"
    if lack:
        if os.environ.get(REQUIRED):
            pytest.fail(f"{lack}, and {REQUIRED} is set")
        pytest.skip(lack)
    data = tmp_path_factory.mktemp("matrix") / "data"
    with serving(data, tls=False, options=OPTIONS) as started:
        yield started


@pytest.fixture
def user() -> str:
    """One that no other test is."""
    return f"@{uuid4().hex}:example.org"


@pytest.fixture
def calls(server: ServerProcess, user: str) -> Calls:
    """Makes calls as the user, or with other options, and returns what came of each."""

    def make(*made: list[Any], **options: Any) -> Results:
        ran = subprocess.run(
            ["node", str(HOME / "matrix.mjs")],
            input=_asked(server, user, made, options),
            capture_output=True,
            timeout=STUCK_S,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr.decode()
        results: Results = json.loads(ran.stdout)
        return results

    return make


def _asked(server: ServerProcess, user: str, calls: Any, options: dict[str, Any]) -> bytes:
    given = {
        "baseUrl": f"http://localhost:{server.port}",
        "userId": user,
        "accessToken": token(claims={"x-ably-clientId": user}),
        **options,
    }
    return json.dumps({"options": given, "calls": calls}).encode()


def pusher(pushkey: str = "a/push+key=", url: str = GATEWAY, **fields: Any) -> dict[str, Any]:
    return {
        "kind": "http",
        "app_id": APP_ID,
        "pushkey": pushkey,
        "app_display_name": "App",
        "device_display_name": "Phone",
        "profile_tag": "tag",
        "lang": "en",
        "data": {"url": url, "format": "event_id_only"},
        **fields,
    }


def listed(*pushers: dict[str, Any]) -> dict[str, Any]:
    """As the SDK says it: a server that cannot disable pushers has all of them enabled."""
    return {"pushers": [{**one, "org.matrix.msc3881.enabled": True} for one in pushers]}


def refusal(result: dict[str, Any]) -> tuple[int, str]:
    return result["error"]["status"], result["error"]["errcode"]


def test_pushers(calls: Calls) -> None:
    none, set_, again, both, removed, absent, left = calls(
        ["getPushers"],
        ["setPusher", pusher()],
        ["setPusher", pusher("second", append=True)],
        ["getPushers"],
        ["removePusher", "a/push+key=", APP_ID],
        ["removePusher", "nothing", APP_ID],
        ["getPushers"],
    )
    assert none["value"] == {"pushers": []}
    assert set_["value"] == again["value"] == removed["value"] == absent["value"] == {}
    assert both["value"] == listed(pusher(), pusher("second"))
    assert left["value"] == listed(pusher("second"))


def test_refusals(calls: Calls) -> None:
    lacking = {name: value for name, value in pusher().items() if name != "lang"}
    missing_, invalid, email, no_url, unchanged = calls(
        ["setPusher", lacking],
        ["setPusher", pusher("x" * 513)],
        ["setPusher", pusher(kind="email", app_id="m.email")],
        ["setPusher", pusher(data={})],
        ["getPushers"],
    )
    assert refusal(missing_) == (400, "M_MISSING_PARAM")
    assert "Missing parameters: lang" in missing_["error"]["message"]
    assert refusal(invalid) == refusal(email) == (400, "M_INVALID_PARAM")
    assert refusal(no_url) == (400, "M_MISSING_PARAM")
    assert unchanged["value"] == {"pushers": []}


def test_tokens(calls: Calls) -> None:
    (nobody,) = calls(["setPusher", pusher()], accessToken="a.b")
    assert refusal(nobody) == (401, "M_UNKNOWN_TOKEN")
    (anybody,) = calls(["setPusher", pusher()], accessToken=token(claims={"x-ably-clientId": "*"}))
    assert refusal(anybody) == (401, "M_UNKNOWN_TOKEN")
    (without,) = calls(["setPusher", pusher()], accessToken=None)
    assert refusal(without) == (401, "M_MISSING_TOKEN")


def test_below_a_base(calls: Calls, server: ServerProcess) -> None:
    base = f"http://localhost:{server.port}/matrix"
    set_, found = calls(["setPusher", pusher()], ["getPushers"], baseUrl=base)
    assert (set_["value"], found["value"]) == ({}, listed(pusher()))


def test_too_often(calls: Calls) -> None:
    results = calls(*[["getPushers"]] * (REQUESTS_MAX + 5))
    assert refusal(results[-1]) == (429, "M_LIMIT_EXCEEDED")
    assert 0 < results[-1]["error"]["retryAfterMs"] <= 60_000
    refused = [result for result in results if "error" in result]
    assert len(results) - len(refused) >= REQUESTS_MAX


async def test_a_pusher_that_was_set_is_notified(server: ServerProcess, user: str) -> None:
    fake = MatrixGateway()
    async with gateway_serving(fake.handle) as gateway:
        url = gateway.url + NOTIFY
        asked = _asked(server, user, [["setPusher", pusher(url=url)]], {})
        ran = await trio.run_process(
            ["node", str(HOME / "matrix.mjs")], stdin=asked, capture_stdout=True
        )
        assert json.loads(ran.stdout) == [{"value": {}}]
        body = {
            "recipient": {"clientId": user},
            "matrix": {"event_id": "$1", "room_id": "!r", "counts": {"unread": 3}},
        }
        async with httpx.AsyncClient(auth=tuple(KEY.split(":"))) as client:  # type: ignore[arg-type]
            reply = await client.post(f"http://localhost:{server.port}/push/publish", json=body)
        assert reply.status_code == 204, reply.text
        with trio.fail_after(STUCK_S):
            await fake.until(1)
    (told,) = fake.delivered
    (device,) = told["devices"]
    assert {name: told[name] for name in ("event_id", "room_id", "counts")} == body["matrix"]
    assert (device["app_id"], device["pushkey"]) == (APP_ID, "a/push+key=")
    assert device["data"] == {"format": "event_id_only"}
