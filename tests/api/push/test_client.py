"""The client: deadlines, bounds, connections by address, and what trouble is called."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from api.push.client import REPLY_BYTES_MAX, SILENCE_SHARE, Client, Limits
from api.push.guard import Guard, Resolver
from api.push.outcome import NotSent
from broker.push.transport import UNREACHABLE, Verdict
from tests.api.push.authority import Authority, authority
from tests.api.push.http_gateway import Act, Answer, Gateway, Handle, Reply, Request, serving
from tests.api.push.scripted import Script

LIMITS = Limits(connect_s=5, total_s=10, connections_max=3)


async def to_loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@asynccontextmanager
async def client(
    trusted: Authority, resolve: Resolver = to_loopback, *, allow_loopback: bool = True
) -> AsyncIterator[Client]:
    guard = Guard(allow_loopback=allow_loopback, resolve=resolve)
    opened = Client(LIMITS, trusted.client_context(), guard.addresses)
    try:
        yield opened
    finally:
        await opened.aclose()


async def refusal(posting: Client, url: str) -> str:
    with pytest.raises(NotSent) as caught:
        await posting.post(url, {}, b"x")
    result = caught.value.result
    assert (result.verdict, result.code) == (Verdict.TRANSIENT, UNREACHABLE)
    return result.message


def scripted(script: Script) -> Handle:
    async def handle(request: Request) -> Answer:
        return script.next() or Reply(200, b"ok")

    return handle


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture(params=["h2", "http/1.1"])
async def gateway(
    request: pytest.FixtureRequest, trusted: Authority, script: Script
) -> AsyncIterator[Gateway]:
    async with serving(scripted(script), trusted.server_context(request.param)) as gateway:
        yield gateway


async def test_the_name_is_resolved_by_us_and_verified_by_tls(
    gateway: Gateway, trusted: Authority
) -> None:
    async with client(trusted) as posting:
        reply = await posting.post(f"https://push.example:{gateway.port}/", {}, b"x")
        assert (reply.status, reply.body) == (200, b"ok")
        host = gateway.requests[0].headers
        assert f"push.example:{gateway.port}" in (host.get("host"), host.get(":authority"))
        said = await refusal(posting, f"https://other.example:{gateway.port}/")
        assert said == "cannot be reached"  # the certificate is not for that name


async def test_two_names_of_one_address_share_no_connection(
    gateway: Gateway, trusted: Authority
) -> None:
    async with client(trusted) as posting:
        for name in ("push.example", "hook.example", "push.example"):
            await posting.post(f"https://{name}:{gateway.port}/", {}, b"x")
    assert gateway.connections == 2


async def test_a_certificate_of_nobody_we_trust(
    gateway: Gateway, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = authority(tmp_path_factory.mktemp("stranger"))
    async with client(stranger) as posting:
        assert await refusal(posting, gateway.url) == "cannot be reached"
    assert gateway.requests == []


async def test_a_name_that_points_elsewhere_a_moment_later(
    gateway: Gateway, trusted: Authority, script: Script
) -> None:
    """It is looked at once for each connection, and the connection goes to what was looked at."""
    answers = [["127.0.0.1"], ["10.0.0.1"], ["1.1.1.1", "169.254.169.254"], ["127.0.0.1"]]
    asked = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    url = f"https://push.example:{gateway.port}/"
    async with client(trusted, rebinding) as posting:
        script.then(Reply(200), Act.HANG_UP)
        assert (await posting.post(url, {}, b"x")).status == 200
        assert "ended" in await refusal(posting, url)  # so that the next needs a connection
        for _ in range(2):
            assert "not a public one" in await refusal(posting, url)
        assert (await posting.post(url, {}, b"x")).status == 200
    assert (len(asked), gateway.connections) == (4, 2)


async def test_nothing_private_is_connected_to(gateway: Gateway, trusted: Authority) -> None:
    async with client(trusted, allow_loopback=False) as posting:
        said = await refusal(posting, f"https://push.example:{gateway.port}/")
        assert "not a public one" in said
    assert gateway.connections == 0


async def test_the_next_address_is_tried(gateway: Gateway, trusted: Authority) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.255.255.1", "127.0.0.1"]

    async with client(trusted, resolve) as posting:
        assert (await posting.post(f"https://push.example:{gateway.port}/", {}, b"x")).status == 200


async def test_a_name_that_cannot_be_resolved(trusted: Authority) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise OSError("a detail of our network")

    async with client(trusted, resolve) as posting:
        assert await refusal(posting, "https://push.example/") == "cannot be reached"


async def test_a_name_that_is_never_resolved(trusted: Authority, mock_clock: MockClock) -> None:
    begun = trio.Event()

    async def resolve(host: str, port: int) -> list[str]:
        begun.set()
        await trio.sleep_forever()
        raise AssertionError

    async with client(trusted, resolve) as posting, trio.open_nursery() as nursery:
        said: list[str] = []
        nursery.start_soon(_note, posting, "https://push.example/", said)
        await begun.wait()
        mock_clock.jump(LIMITS.connect_s)
    assert said == ["not reached in time"]


async def _note(posting: Client, url: str, said: list[str]) -> None:
    said.append(await refusal(posting, url))


async def test_a_gateway_that_never_says_hello(trusted: Authority, mock_clock: MockClock) -> None:
    accepted = trio.Event()

    async def silent(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        accepted.set()
        await trio.sleep_forever()

    async with client(trusted) as posting, trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, silent, listeners)
        port = listeners[0].socket.getsockname()[1]
        said: list[str] = []
        async with trio.open_nursery() as waiting:
            waiting.start_soon(_note, posting, f"https://127.0.0.1:{port}", said)
            await accepted.wait()
            mock_clock.jump(LIMITS.connect_s)
        nursery.cancel_scope.cancel()
    assert said == ["not reached in time"]


async def test_a_stalled_connection_is_given_up_and_not_used_again(
    gateway: Gateway, trusted: Authority, script: Script, mock_clock: MockClock
) -> None:
    script.then(Act.STALL)
    async with client(trusted) as posting:
        said: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_note, posting, gateway.url, said)
            await gateway.arrived.wait()
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(LIMITS.total_s * SILENCE_SHARE)
        assert said == ["no answer in time"]
        assert (await posting.post(gateway.url, {}, b"x")).status == 200
    assert gateway.connections == 2


async def test_silence_is_counted_by_connection_not_by_request(
    trusted: Authority, script: Script, mock_clock: MockClock
) -> None:
    """Who came late to a dead connection is told with who waited longest."""
    context = trusted.server_context("h2")
    async with serving(scripted(script), context) as gateway, client(trusted) as posting:
        script.then(Act.STALL, Act.STALL)
        said: list[str] = []
        async with trio.open_nursery() as nursery:
            for passed_s in (LIMITS.total_s / 2, LIMITS.total_s * SILENCE_SHARE / 2):
                nursery.start_soon(_note, posting, gateway.url, said)
                await gateway.arrived.wait()
                await trio.testing.wait_all_tasks_blocked()
                gateway.arrived = trio.Event()
                mock_clock.jump(passed_s)
        assert said == ["no answer in time"] * 2
        assert (await posting.post(gateway.url, {}, b"x")).status == 200


async def test_a_connection_that_answers_others_goes_on_when_one_request_stalls(
    trusted: Authority, script: Script, mock_clock: MockClock
) -> None:
    context = trusted.server_context("h2")
    async with serving(scripted(script), context) as gateway, client(trusted) as posting:
        script.then(Act.STALL)
        said: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_note, posting, gateway.url, said)
            await gateway.arrived.wait()
            for _ in range(4):
                await trio.testing.wait_all_tasks_blocked()
                mock_clock.jump(LIMITS.total_s / 4)
                assert (await posting.post(gateway.url, {}, b"x")).status == 200
        assert said == ["no answer in 10 s"]
        assert gateway.connections == 1


async def test_a_long_reply_is_read_to_the_bound(
    gateway: Gateway, trusted: Authority, script: Script
) -> None:
    script.then(Reply(500, b"x" * (REPLY_BYTES_MAX * 4)))
    async with client(trusted) as posting:
        reply = await posting.post(gateway.url, {}, b"x")
        assert (reply.status, len(reply.body)) == (500, REPLY_BYTES_MAX)
        assert (await posting.post(gateway.url, {}, b"x")).body == b"ok"


async def test_no_cookie_is_kept_and_no_redirect_followed(
    gateway: Gateway, trusted: Authority, script: Script
) -> None:
    headers = {"set-cookie": "a=b; path=/", "location": "/elsewhere"}
    script.then(Reply(302, headers=headers))
    async with client(trusted) as posting:
        assert (await posting.post(gateway.url, {}, b"x")).status == 302
        await posting.post(gateway.url, {}, b"x")
    assert [request.path for request in gateway.requests] == ["/", "/"]
    assert "cookie" not in gateway.requests[1].headers


@pytest.mark.parametrize("act", [Act.HANG_UP, Act.NONSENSE])
async def test_trouble_is_named(
    gateway: Gateway, trusted: Authority, script: Script, act: Act
) -> None:
    script.then(act)
    async with client(trusted) as posting:
        assert await refusal(posting, gateway.url) in (
            "ended the connection, or broke its protocol",
            "the connection broke",
        )


async def test_connections_are_bounded(trusted: Authority) -> None:
    release, held = trio.Event(), []

    async def hold(request: Request) -> Answer:
        held.append(request)
        await release.wait()
        return Reply()

    async with serving(hold, trusted.server_context("http/1.1")) as gateway:
        async with client(trusted) as posting, trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(posting.post, gateway.url, {}, b"x")
            while len(held) < LIMITS.connections_max:
                await gateway.arrived.wait()
                await trio.testing.wait_all_tasks_blocked(0.01)
            release.set()
        assert (gateway.connections, len(gateway.requests)) == (3, 10)


async def test_proxies_of_the_environment_are_not_used(
    gateway: Gateway, trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with client(trusted) as posting:
        assert (await posting.post(gateway.url, {}, b"x")).status == 200


async def test_nothing_of_a_request_is_logged(
    gateway: Gateway, trusted: Authority, caplog: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    async with client(trusted) as posting:
        await posting.post(f"{gateway.url}/secret-path", {"authorization": "bearer hush"}, b"body")
    assert [r.getMessage() for r in caplog.records] == []
