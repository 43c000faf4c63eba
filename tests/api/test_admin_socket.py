"""The admin socket beside a broker: its file, its manners, and what hostile input does to it."""

import json
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import broker
from api.admin import operations, protocol, service, socket_file
from api.admin.session import SocketSession, open_running, open_session
from broker import BadRequest, Broker, BrokerError, BrokerSettings, NotFound, Unavailable
from broker.errors import InUse

GRACE_S = 5.0


@asynccontextmanager
async def administered(data: Path) -> AsyncIterator[Callable[[], None]]:
    """An open broker with its socket; yields what begins the shutdown of the socket."""
    async with broker.open(data) as opened, trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        await nursery.start(_serve, scope, opened, data)
        yield scope.cancel
        scope.cancel()


async def _serve(
    scope: trio.CancelScope, opened: Broker, data: Path, task_status: trio.TaskStatus[None]
) -> None:
    with scope:
        await service.serve(opened, data, grace_s=GRACE_S, task_status=task_status)


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "data"
    async with administered(path):
        yield path


async def connected(data: Path) -> trio.SocketStream:
    stream = await socket_file.connect(data)
    assert stream is not None
    return stream


async def exchange(stream: trio.SocketStream, *lines: bytes) -> list[Any]:
    """Send lines and our end; every reply until the other end."""
    for line in lines:
        await stream.send_all(line + b"\n")
    await stream.send_eof()
    received = b"".join([chunk async for chunk in stream])
    return [json.loads(line) for line in received.splitlines()]


STATUS = b'{"operation": "status"}'


async def test_it_is_its_owners_alone_and_goes_with_the_broker(tmp_path: Path) -> None:
    async with administered(tmp_path):
        mode = (tmp_path / "admin.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert not (tmp_path / "admin.sock").exists()
    assert await socket_file.connect(tmp_path) is None


@pytest.mark.parametrize("leave", ["socket", "file"])
async def test_what_a_dead_broker_left_is_replaced(tmp_path: Path, leave: str) -> None:
    path = tmp_path / "admin.sock"
    if leave == "socket":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    else:
        path.write_text("x")
    assert await socket_file.connect(tmp_path) is None
    async with administered(tmp_path), open_running(tmp_path) as session:
        assert (await session.call("status"))["ready"] is True


async def test_a_path_longer_than_a_socket_address(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    async with administered(deep), open_running(deep) as session:
        assert (await session.call("status"))["ready"] is True
    assert not (deep / "admin.sock").exists()


async def test_no_broker_no_socket(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no broker is running"):
        async with open_running(tmp_path / "absent"):
            pass


async def test_requests_are_answered_in_order(data: Path) -> None:
    publish = (
        b'{"operation": "publish", "arguments": {"channel": "a", "messages": [{"data": "x"}]}}'
    )
    history = b'{"operation": "history", "arguments": {"channel": "a"}}'
    async with await connected(data) as stream:
        published, page = await exchange(stream, publish, history)
    assert page["result"]["messages"][0]["serial"] == published["result"]["serials"][0]


async def test_errors_come_back_as_the_brokers(data: Path) -> None:
    async with open_running(data) as session:
        with pytest.raises(BrokerError, match="no app 'absent'") as caught:
            await session.call("keys.list", app="absent")
        assert (caught.value.code, caught.value.status) == (40400, 404)
        assert await session.call("apps.list")


async def test_a_tail(data: Path) -> None:
    async with open_running(data) as listening, open_running(data) as other:
        items = listening.stream("tail", channel="demo")
        assert await anext(items) is None
        for number in range(3):
            await other.call("publish", channel="demo", messages=[{"data": str(number)}])
        assert [(await anext(items))["data"] for _ in range(3)] == ["0", "1", "2"]
        await items.aclose()


async def test_a_client_ends_a_tail_by_closing_its_side(data: Path) -> None:
    async with await connected(data) as stream:
        replies = await exchange(stream, b'{"operation": "tail", "arguments": {"channel": "a"}}')
    assert replies in ([], [{"item": None}])


async def test_a_tail_that_cannot_begin_says_why(data: Path) -> None:
    async with open_running(data) as session:
        with pytest.raises(BrokerError, match="no app"):
            await anext(session.stream("tail", channel="demo", app="absent"))


@pytest.mark.parametrize(
    "line",
    [b"", b"garbage", b"\xff\xfe", b"[]", b"{}", b'{"operation": []}', b"[" * 10_000, b"\0" * 100],
)
async def test_garbage_is_refused_and_the_next_request_answered(data: Path, line: bytes) -> None:
    async with await connected(data) as stream:
        refused, answered = await exchange(stream, line, STATUS)
    assert refused["error"]["statusCode"] == 400
    assert answered["result"]["ready"] is True


async def test_a_line_without_end_is_cut_off(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "REQUEST_BYTES_MAX", 1_000)
    async with await connected(data) as stream:
        await stream.send_all(b"x" * 1_001)
        received = await stream.receive_some()
        assert json.loads(received)["error"]["code"] == 40009
        assert await stream.receive_some() == b""


async def test_connections_are_bounded(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "CONNECTIONS_MAX", 1)
    async with open_running(data) as first:
        await first.call("status")
        async with open_running(data) as second:
            with pytest.raises(BrokerError, match="more than 1 admin connections"):
                await second.call("status")
        assert await first.call("status")


async def test_a_client_that_vanishes_harms_nobody(data: Path) -> None:
    for line in (STATUS, b'{"operation": "tail", "arguments": {"channel": "a"}}', b"half"):
        stream = await connected(data)
        await stream.send_all(line + b"\n")
        await stream.aclose()
    async with open_running(data) as session:
        assert await session.call("status")


async def test_a_bug_is_one_reply_without_details(
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    may_log: set[str],
) -> None:
    may_log.add("tidelog.admin")

    async def broken(broker: Broker) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setitem(operations.OPERATIONS, "status", broken)
    async with open_running(data) as session:
        with pytest.raises(BrokerError, match="Internal error") as caught:
            await session.call("status")
        assert caught.value.status == 500
        assert await session.call("apps.list")
    assert "a secret detail" in caplog.text


async def test_what_was_asked_is_answered_in_a_shutdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = trio.Event(), trio.Event()

    async def slow(broker: Broker) -> str:
        begun.set()
        await go_on.wait()
        return "finished"

    monkeypatch.setitem(operations.OPERATIONS, "status", slow)
    answers: list[Any] = []

    async def ask(session: SocketSession) -> None:
        answers.append(await session.call("status"))

    async with (
        administered(tmp_path) as stop,
        open_running(tmp_path) as session,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(ask, session)
        await begun.wait()
        stop()
        go_on.set()
    assert answers == ["finished"]


async def test_idle_clients_and_tails_end_with_the_broker(tmp_path: Path) -> None:
    async with (
        administered(tmp_path) as stop,
        open_running(tmp_path) as tailing,
        open_running(tmp_path) as idle,
    ):
        await idle.call("status")
        items = tailing.stream("tail", channel="a")
        assert await anext(items) is None
        stop()
        with pytest.raises(Unavailable, match="the broker ended"):
            await anext(items)
        with pytest.raises(Unavailable, match="the broker ended"):
            await idle.call("status")


async def test_a_session_opens_the_directory_when_no_broker_runs(tmp_path: Path) -> None:
    async with open_session(tmp_path, BrokerSettings(), create=True) as session:
        with pytest.raises(InUse):
            async with broker.open(tmp_path):
                pass
        assert len(await session.call("keys.list")) == 1


async def test_a_session_asks_the_running_broker(data: Path) -> None:
    async with open_session(data, BrokerSettings()) as session:
        assert isinstance(session, SocketSession)


async def test_refusals_of_a_direct_session_are_not_wrapped(tmp_path: Path) -> None:
    with pytest.raises(BadRequest):
        async with open_session(tmp_path, BrokerSettings(), create=True) as session:
            await session.call("history", channel="")


async def test_a_directory_that_is_in_use_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    """Another command has it open, and lets go: no broker, no socket."""
    tried = trio.Event()
    connect = socket_file.connect

    async def watched(directory: Path) -> trio.SocketStream | None:
        tried.set()
        return await connect(directory)

    async def hold(task_status: trio.TaskStatus[None]) -> None:
        async with broker.open(tmp_path):
            task_status.started()
            await tried.wait()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket_file, "connect", watched)
        async with trio.open_nursery() as nursery:
            await nursery.start(hold)
            async with open_session(tmp_path, BrokerSettings()) as session:
                assert await session.call("apps.list")
