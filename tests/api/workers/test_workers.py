"""Two workers are one broker: whichever a client has reached, it sees what happens at the other."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
import trio

from api.realtime.protocol import Action
from broker.channels.modes import Mode
from tests.api.workers.worker_processes import STUCK_S, Workers
from tests.conformance.serving import KEY
from tests.crash.realtime_clients import Cut, Publisher, Subscriber

LISTENS = Mode.SUBSCRIBE | Mode.PRESENCE_SUBSCRIBE | Mode.PRESENCE
NAME, _, SECRET = KEY.partition(":")
SUPERSEDED, INVALID_KEY = 80016, 80018


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    served = Workers(tmp_path_factory.mktemp("workers") / "data", options=("--sandbox",))
    served.start()
    yield served
    served.stop()
    served.check()


@pytest.fixture
async def pids(workers: Workers) -> list[int]:
    """The leader and its follower."""
    return await workers.all_there()


class Asked:
    """Requests to one worker, on one connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def __call__(self, method: str, path: str, body: Any = None, key: str = KEY) -> Any:
        request = httpx.Request(
            method, f"http://localhost{path}", json=body, headers={"Connection": "keep-alive"}
        )
        name, _, secret = key.partition(":")
        request = next(httpx.BasicAuth(name, secret).auth_flow(request))
        head = f"{method} {request.url.raw_path.decode()} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        await self._stream.send_all(head.encode() + b"\r\n" + request.content)
        return await self._reply()

    async def _reply(self) -> Any:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        while len(body) < int(headers.get("content-length", 0)):
            body += await self._more()
        status = int(lines[0].split()[1])
        return httpx.Response(status, headers=headers, content=body)

    async def _more(self) -> bytes:
        with trio.fail_after(STUCK_S):
            data = await self._stream.receive_some(65_536)
        assert data, "closed within a reply"
        return bytes(data)


@asynccontextmanager
async def asking(workers: Workers, pid: int) -> AsyncIterator[Asked]:
    stream = await workers.open_stream_to(pid)
    async with stream:
        yield Asked(stream)


async def connect(workers: Workers, client: Any, pid: int) -> None:
    await client.connect_on(await workers.open_stream_to(pid))


async def enter(client: Subscriber) -> None:
    presence = [{"action": 2}]
    await client.send(Action.PRESENCE, channel=client.channel, msgSerial=0, presence=presence)
    while (message := await client.next())["action"] != Action.ACK:
        client.heard(message)


async def until_cut(client: Subscriber, socket: Any) -> list[dict[str, Any]]:
    """All that comes on a transport until its end."""
    told: list[dict[str, Any]] = []
    with suppress(Cut):
        while True:
            told.append(await client.next_on(socket))
    return told


async def metrics(asked: Asked, channel: str) -> dict[str, int]:
    status = (await asked("GET", f"/channels/{channel}")).json()["status"]
    found: dict[str, int] = status["occupancy"]["metrics"]
    return found


async def until_metrics(asked: Asked, channel: str, **wanted: int) -> None:
    """ATTACHED does not wait for the disk, so counts follow it a little later."""
    with trio.fail_after(STUCK_S):
        while not wanted.items() <= (await metrics(asked, channel)).items():
            pass


async def test_both_deliver_what_either_takes(workers: Workers, pids: list[int]) -> None:
    """To each subscriber everything, once and in the same order, whoever published where."""
    channel, count = "both", 100
    subscribers = [Subscriber(f"s{pid}", channel, LISTENS) for pid in pids]
    publishers = [Publisher(f"p{pid}", channel, Mode.PUBLISH) for pid in pids]
    for pid, *clients in zip(pids, subscribers, publishers, strict=True):
        for client in clients:
            await connect(workers, client, pid)
    async with trio.open_nursery() as nursery:
        for client in (*subscribers, *publishers):
            nursery.start_soon(client.listen)
        for publisher in publishers:
            nursery.start_soon(_publish, publisher, count)
        for subscriber in subscribers:
            await subscriber.until_received(2 * count)
        for publisher in publishers:
            await publisher.until_acknowledged()
        nursery.cancel_scope.cancel()
    first, second = (subscriber.received for subscriber in subscribers)
    assert first == second
    assert len(first) == 2 * count
    acked = {
        (f"{publisher.name}-{number}", serial)
        for publisher in publishers
        for number, serial in publisher.acked.items()
    }
    assert set(first) == acked
    for publisher in publishers:
        mine = [name for name, _ in first if name.startswith(publisher.name)]
        assert mine == [f"{publisher.name}-{number}" for number in range(count)]
    for client in (*subscribers, *publishers):
        await client.drop()


async def _publish(publisher: Publisher, count: int) -> None:
    for number in range(count):
        publisher.sent = number + 1
        await publisher.publish(number)


async def test_who_is_there_is_counted_over_all(workers: Workers, pids: list[int]) -> None:
    channel = "counted"
    members = [Subscriber(f"m{pid}", channel, LISTENS) for pid in pids]
    for pid, member in zip(pids, members, strict=True):
        await connect(workers, member, pid)
        await enter(member)
    for pid in pids:
        async with asking(workers, pid) as asked:
            await until_metrics(asked, channel, connections=2, presenceMembers=2)
            found = (await asked("GET", f"/channels/{channel}/presence")).json()
            assert {one["clientId"] for one in found} == {member.name for member in members}
    for member in members:
        await member.send(Action.CLOSE)
        await member.drop()
    for pid in pids:
        async with asking(workers, pid) as asked:
            await until_metrics(asked, channel, connections=0, presenceMembers=0)


@pytest.mark.parametrize("first", [0, 1])
async def test_a_connection_is_resumed_at_another_worker(
    workers: Workers, pids: list[int], first: int
) -> None:
    """While it lives at the first: that one is told, and cannot take it back. Its member stays."""
    channel, here, there = f"resumed{first}", pids[first], pids[1 - first]
    client = Subscriber("moves", channel, LISTENS)
    await connect(workers, client, here)
    await enter(client)
    old, old_key = client.socket, client.key
    await connect(workers, client, there)
    assert client.resumed == 1
    told = await until_cut(client, old)
    await trio.aclose_forcefully(old.stream)
    assert (told[-1]["action"], told[-1]["error"]["code"]) == (Action.DISCONNECTED, SUPERSEDED)
    thief = Subscriber("moves", channel, LISTENS, key=old_key)
    for pid in (here, there):
        stream = await workers.open_stream_to(pid)
        connected = await thief.connected_on(stream)
        assert connected["error"]["code"] == INVALID_KEY
        assert connected["connectionId"] != client.id
        await thief.drop()
    async with asking(workers, here) as asked:
        (member,) = (await asked("GET", f"/channels/{channel}/presence")).json()
        assert (member["clientId"], member["connectionId"]) == ("moves", client.id)
    await client.drop()


async def test_what_ends_credentials_ends_connections_everywhere(
    workers: Workers, pids: list[int]
) -> None:
    """An app that is made at one worker is known at the other, and ends there when it is deleted.
    So does the connection of a key's app."""
    for maker, other in (pids, pids[::-1]):
        async with asking(workers, maker) as here, asking(workers, other) as there:
            made = (await here("POST", "/apps", {"keys": [{}]})).json()
            key = made["keys"][0]["keyStr"]
            client = Subscriber("c", "x", LISTENS, auth=key)
            await connect(workers, client, other)
            assert (await there("GET", "/channels/x/messages", key=key)).status_code == 200
            await here("DELETE", f"/apps/{made['appId']}", key=key)
            told = await until_cut(client, client.socket)
            assert told[-1]["action"] == Action.ERROR
            await client.drop()
            assert (await there("GET", "/channels/x/messages", key=key)).status_code == 401


async def test_a_follower_passes_on_what_only_the_leader_can_answer(
    workers: Workers, pids: list[int]
) -> None:
    """Devices, whose keys are the leader's; usage, which it counts; the time that it tells."""
    device = {
        "id": "phone",
        "platform": "android",
        "formFactor": "phone",
        "push": {"recipient": {"transportType": "fcm", "registrationToken": "t"}},
    }
    async with asking(workers, pids[0]) as leader, asking(workers, pids[1]) as follower:
        registered = await follower("PUT", "/push/deviceRegistrations/phone", device)
        assert registered.status_code == 200, registered.text
        for asked in (leader, follower):
            found = (await asked("GET", "/push/deviceRegistrations/phone")).json()
            assert found["push"]["recipient"]["registrationToken"] == "t"
        sent = await follower("POST", "/channels/used/messages", {"data": "x" * 10})
        assert sent.status_code == 201
        (stats,) = (await follower("GET", "/stats?unit=month")).json()
        assert stats["entries"]["messages.inbound.rest.messages.count"] >= 1
        before = (await follower("GET", "/time")).json()[0]
        sent = await leader("POST", "/channels/timed/messages", {"data": "x"})
        (message,) = (await follower("GET", f"/channels/timed/messages?start={before}")).json()
        assert message["timestamp"] > before
        assert (await follower("GET", "/push/nothing")).status_code == 404
        refused = await follower("GET", "/push/deviceRegistrations", key=f"{NAME}:wrong")
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == 40101


async def test_history_and_dedup_are_of_one_log(workers: Workers, pids: list[int]) -> None:
    """The same id, sent to one worker after the other, is one message; each sees it at once."""
    async with asking(workers, pids[0]) as leader, asking(workers, pids[1]) as follower:
        message = {"id": "once:0", "name": "n", "data": "x"}
        first = await follower("POST", "/channels/dedup/messages", message)
        again = await leader("POST", "/channels/dedup/messages", message)
        assert first.json()["serials"] == again.json()["serials"]
        for asked in (leader, follower):
            found = (await asked("GET", "/channels/dedup/messages")).json()
            assert [one["id"] for one in found] == ["once:0"]
            assert (await asked("GET", "/ready")).json()["status"] == "ready"
