"""The client of one HTTP/2 gateway: streams, windows, what is repeated, and when it gives up."""

import logging
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import h2.exceptions
import pytest
import trio
from h2.settings import SettingCodes
from trio.testing import MockClock, wait_all_tasks_blocked

from api.push.client import SILENCE_SHARE, Limits
from api.push.http2 import CONNECTIONS_TRIED, Http2Client
from api.push.network import KEPT_IDLE_S, Addresses
from api.push.outcome import NotSent
from api.push.reply import REPLY_BYTES_MAX, Reply
from broker.push.transport import UNREACHABLE, Verdict
from tests.api.push.authority import Authority, authority
from tests.api.push.http2_peer import Asked, Peers, peering

LIMITS = Limits(connect_s=5, total_s=10)
SEED = int(os.environ.get("TIDELOG_SEED", random.randrange(1 << 32)))
SEEDS = [SEED + n for n in range(int(os.environ.get("TIDELOG_SEEDS", "5")))]
ENDED = "ended the connection, or broke its protocol"


async def loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@asynccontextmanager
async def client(
    base: str, trusted: Authority, addresses: Addresses = loopback
) -> AsyncIterator[Http2Client]:
    opened = Http2Client(base, LIMITS, trusted.client_context(), addresses)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.aclose()


async def post(posting: Http2Client, base: str, body: bytes = b"x", path: str = "/") -> Reply:
    return await posting.post(base + path, {"apns-id": "1", "apns-topic": "t"}, body)


async def refusal(posting: Http2Client, base: str, body: bytes = b"x") -> str:
    with pytest.raises(NotSent) as caught:
        await post(posting, base, body)
    result = caught.value.result
    assert (result.verdict, result.code) == (Verdict.TRANSIENT, UNREACHABLE)
    return result.message


async def echo(asked: Asked) -> None:
    await asked.answer(200, asked.body)


class Held:
    """A gateway that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._news = trio.Event()

    async def __call__(self, asked: Asked) -> None:
        self.asked.append(asked)
        self._news.set()
        self._news = trio.Event()

    async def until(self, count: int) -> None:
        while len(self.asked) < count:
            await self._news.wait()


async def test_what_arrives(trusted: Authority) -> None:
    asked: list[Asked] = []

    async def handle(one: Asked) -> None:
        asked.append(one)
        await one.answer(413, b'{"reason":"x"}')

    async with peering(trusted, handle) as peers:
        base = f"{peers.url}/behind"
        async with client(base, trusted) as posting:
            headers = {"apns-id": "7", "authorization": "bearer hush"}
            reply = await posting.post(f"{base}/3/device/a1", headers, b"body")
    assert (reply.status, reply.body, reply.json()) == (413, b'{"reason":"x"}', {"reason": "x"})
    assert asked[0].body == b"body"
    assert asked[0].headers == {
        ":method": "POST",
        ":scheme": "https",
        ":authority": peers.url.removeprefix("https://"),
        ":path": "/behind/3/device/a1",
        "apns-id": "7",
        "authorization": "bearer hush",
        "user-agent": "tidelog",
        "accept-encoding": "identity",
        "content-length": "4",
    }


async def test_without_tls_where_the_operator_says_so(trusted: Authority) -> None:
    async with peering(None, echo) as peers, client(peers.url, trusted) as posting:
        assert (await post(posting, peers.url, b"plain")).body == b"plain"


async def test_secrets_and_what_differs_are_not_kept_in_the_headers_table(
    trusted: Authority,
) -> None:
    async with peering(trusted, echo) as peers, client(peers.url, trusted) as posting:
        for number in range(3):
            headers = {"apns-id": str(number), "authorization": "bearer hush", "apns-topic": "t"}
            await posting.post(f"{peers.url}/3/device/{number}", headers, b"x")
        kept = dict(peers.opened[0].h2.decoder.header_table.dynamic_entries)
    assert kept[b"apns-topic"] == b"t"
    assert not kept.keys() & {b"authorization", b"apns-id", b":path"}


async def test_a_certificate_of_nobody_we_trust(
    trusted: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = authority(tmp_path_factory.mktemp("stranger"))
    async with peering(stranger, echo) as peers, client(peers.url, trusted) as posting:
        assert await refusal(posting, peers.url) == "cannot be reached"


async def test_the_name_is_verified_and_the_address_is_ours(trusted: Authority) -> None:
    async with peering(trusted, echo) as peers:
        port = peers.url.rpartition(":")[2]
        for name, is_well in (("push.example", True), ("other.example", False)):
            base = f"https://{name}:{port}"
            async with client(base, trusted) as posting:
                if is_well:
                    assert (await post(posting, base)).status == 200
                else:
                    assert await refusal(posting, base) == "cannot be reached"


async def test_a_gateway_that_speaks_no_http2(trusted: Authority) -> None:
    async def serve(raw: trio.SocketStream) -> None:
        context = trusted.server_context("http/1.1")
        stream = trio.SSLStream(raw, context, server_side=True)
        await stream.do_handshake()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        base = f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        async with client(base, trusted) as posting:
            assert await refusal(posting, base) == "cannot be reached"
        nursery.cancel_scope.cancel()


async def test_nothing_listens(trusted: Authority) -> None:
    with trio.socket.socket() as taken:
        await taken.bind(("127.0.0.1", 0))
        base = f"https://127.0.0.1:{taken.getsockname()[1]}"
        async with client(base, trusted) as posting:
            assert await refusal(posting, base) == "cannot be reached"


async def _note(posting: Http2Client, base: str, said: list[str], body: bytes = b"x") -> None:
    said.append(await refusal(posting, base, body))


async def test_a_name_that_is_never_resolved(trusted: Authority, mock_clock: MockClock) -> None:
    """All who need the connection share one attempt at it."""
    begun: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        begun.append(host)
        await trio.sleep_forever()
        raise AssertionError

    base, said = "https://push.example", list[str]()
    async with client(base, trusted, resolve) as posting, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(_note, posting, base, said)
        await wait_all_tasks_blocked()
        mock_clock.jump(LIMITS.connect_s)
    assert said == ["not reached in time"] * 5
    assert len(begun) == 1


async def test_as_many_streams_as_the_gateway_allows(trusted: Authority) -> None:
    held, replies = Held(), list[Reply]()

    async def one(posting: Http2Client, base: str) -> None:
        replies.append(await post(posting, base))

    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 3}
    async with (
        peering(trusted, held, settings) as peers,
        client(peers.url, trusted) as posting,
        trio.open_nursery() as nursery,
    ):
        for _ in range(10):
            nursery.start_soon(one, posting, peers.url)
        for answered in range(10):
            await held.until(min(answered + 3, 10))
            await wait_all_tasks_blocked(0.01)
            assert len(held.asked) == min(answered + 3, 10)
            await held.asked[answered].answer()
    assert (len(replies), len(peers.opened)) == (10, 1)


@pytest.mark.parametrize("window", [1, 100, 5_000])
async def test_a_body_that_is_larger_than_the_window(trusted: Authority, window: int) -> None:
    body = random.Random(window).randbytes(5_000)
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: window}
    async with peering(trusted, echo, settings) as peers, client(peers.url, trusted) as posting:
        assert (await post(posting, peers.url, body)).body == body


async def test_a_window_that_stays_shut_holds_up_nobody_else(
    trusted: Authority, mock_clock: MockClock
) -> None:
    """Who cannot send gives the stream up in time, and says so."""
    said: list[str] = []
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: 10}
    async with peering(trusted, echo, settings) as peers, client(peers.url, trusted) as posting:
        await post(posting, peers.url)
        peers.opened[0].is_greedy = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_note, posting, peers.url, said, b"y" * 100)
            await wait_all_tasks_blocked(0.01)
            for _ in range(4):
                mock_clock.jump(LIMITS.total_s / 4)
                assert (await post(posting, peers.url)).status == 200
        assert (said, len(peers.opened)) == (["no answer in 10 s"], 1)
        await post(posting, peers.url)
        assert peers.opened[0].resets


async def test_an_answer_before_the_body_is_whole(trusted: Authority) -> None:
    """What is left of it is not sent, and the connection goes on."""
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: 10}
    async with peering(trusted, echo, settings) as peers, client(peers.url, trusted) as posting:
        await post(posting, peers.url)
        (peer,) = peers.opened
        peer.is_greedy = False
        replies: list[Reply] = []

        async def long() -> None:
            replies.append(await post(posting, peers.url, b"y" * 100))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(long)
            await wait_all_tasks_blocked(0.01)
            await Asked(peer, 3, {}).answer(413, b"too much")
        assert (replies[0].status, replies[0].body) == (413, b"too much")
        peer.is_greedy = True
        assert (await post(posting, peers.url)).status == 200
        assert (peer.resets, len(peers.opened)) == ([3], 1)


async def test_a_long_reply_is_read_to_the_bound(trusted: Authority) -> None:
    async def handle(asked: Asked) -> None:
        await asked.answer(500, b"", is_over=False)
        while asked.stream not in asked.on.resets:
            window = asked.on.h2.local_flow_control_window(asked.stream)
            asked.on.h2.send_data(asked.stream, b"x" * min(window, 16_384))
            await asked.on.flush()
            await trio.lowlevel.checkpoint()

    async with peering(trusted, handle) as peers, client(peers.url, trusted) as posting:
        for _ in range(3):
            reply = await post(posting, peers.url)
            assert (reply.status, len(reply.body)) == (500, REPLY_BYTES_MAX)
    assert len(peers.opened) == 1


async def test_who_is_cancelled_gives_up_a_stream_and_not_the_connection(
    trusted: Authority,
) -> None:
    held = Held()
    async with peering(trusted, held) as peers, client(peers.url, trusted) as posting:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, posting, peers.url)
            await held.until(1)
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, posting, peers.url)
            await held.until(2)
            await held.asked[1].answer()
        assert (peers.opened[0].resets, len(peers.opened)) == ([1], 1)


async def test_a_stream_that_is_reset_is_trouble_for_itself(trusted: Authority) -> None:
    held, said = Held(), list[str]()
    async with peering(trusted, held) as peers, client(peers.url, trusted) as posting:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_note, posting, peers.url, said)
            await held.until(1)
            nursery.start_soon(post, posting, peers.url)
            await held.until(2)
            await held.asked[0].reset()
            await held.asked[1].answer()
        assert (said, len(peers.opened)) == ([ENDED], 1)


async def test_what_a_goaway_names_is_over_and_what_is_behind_it_goes_elsewhere(
    trusted: Authority,
) -> None:
    held, said, replies = Held(), list[str](), list[Reply]()

    async def one(posting: Http2Client, base: str) -> None:
        try:
            replies.append(await post(posting, base))
        except NotSent as not_sent:
            said.append(not_sent.result.message)

    async with (
        peering(trusted, held) as peers,
        client(peers.url, trusted) as posting,
        trio.open_nursery() as nursery,
    ):
        for _ in range(6):
            nursery.start_soon(one, posting, peers.url)
        await held.until(6)
        await peers.opened[0].leave(last_seen=3)
        await held.until(10)
        for asked in held.asked[6:]:
            await asked.answer()
    assert (said, len(replies), len(peers.opened)) == ([ENDED] * 2, 4, 2)


async def test_a_gateway_that_never_sees_anything_is_given_up(trusted: Authority) -> None:
    async def leave(asked: Asked) -> None:
        await asked.on.leave(last_seen=0)

    async with peering(trusted, leave) as peers, client(peers.url, trusted) as posting:
        assert await refusal(posting, peers.url) == ENDED
        assert len(peers.opened) == CONNECTIONS_TRIED


async def test_a_connection_that_is_closed_at_rest_costs_nobody_a_failure(
    trusted: Authority,
) -> None:
    async with peering(trusted, echo) as peers, client(peers.url, trusted) as posting:
        for number in range(3):
            assert (await post(posting, peers.url)).status == 200
            await peers.opened[number].hang_up()
            await wait_all_tasks_blocked(0.01)
        assert len(peers.opened) == 3


async def test_a_connection_at_rest_is_closed_after_a_while(
    trusted: Authority, mock_clock: MockClock
) -> None:
    async with peering(trusted, echo) as peers, client(peers.url, trusted) as posting:
        await post(posting, peers.url)
        mock_clock.jump(KEPT_IDLE_S * 0.9)
        await post(posting, peers.url)
        await wait_all_tasks_blocked(0.01)
        assert not peers.opened[0].is_over.is_set()
        mock_clock.jump(KEPT_IDLE_S)
        await peers.opened[0].is_over.wait()
        assert (await post(posting, peers.url)).status == 200
        assert len(peers.opened) == 2


async def test_silence_is_counted_by_connection_not_by_request(
    trusted: Authority, mock_clock: MockClock
) -> None:
    """Who came late to a dead connection is told with who waited longest; and it is used no more,
    however long it had rested before."""
    held, said = Held(), list[str]()
    async with peering(trusted, held) as peers, client(peers.url, trusted) as posting:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, posting, peers.url)
            await held.until(1)
            await held.asked[0].answer()
        mock_clock.jump(KEPT_IDLE_S / 2)
        async with trio.open_nursery() as nursery:
            for number, passed_s in enumerate((LIMITS.total_s / 2, LIMITS.total_s / 2)):
                nursery.start_soon(_note, posting, peers.url, said)
                await held.until(number + 2)
                await wait_all_tasks_blocked(0.01)
                assert said == []
                mock_clock.jump(passed_s * SILENCE_SHARE)
        assert said == ["no answer in time"] * 2
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, posting, peers.url)
            await held.until(4)
            await held.asked[3].answer()
        assert len(peers.opened) == 2


async def test_what_is_no_http2_ends_the_connection(trusted: Authority) -> None:
    async def nonsense(asked: Asked) -> None:
        asked.on.h2._data_to_send += bytes(9)  # a DATA frame of no stream
        await asked.on.flush()

    async with peering(trusted, nonsense) as peers, client(peers.url, trusted) as posting:
        for _ in range(2):
            assert await refusal(posting, peers.url) == ENDED
        assert len(peers.opened) == 2


async def test_what_h2_refuses_ends_the_connection(trusted: Authority) -> None:
    async with peering(trusted, echo) as peers, client(peers.url, trusted) as posting:
        await post(posting, peers.url)
        assert posting._connection is not None
        posting._connection._h2.close_connection()
        assert await refusal(posting, peers.url) == ENDED
        assert (await post(posting, peers.url)).status == 200
        await peers.opened[0].is_over.wait()


async def test_nothing_of_a_request_is_logged(
    trusted: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with peering(trusted, echo) as peers, client(peers.url, trusted) as posting:
        await post(posting, peers.url, b"secret", "/secret")
    assert [r.getMessage() for r in caplog.records] == []


async def test_a_bug_in_a_connection_ends_that_and_nothing_else(
    trusted: Authority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    may_log: set[str],
) -> None:
    may_log.add("tidelog.push")
    async with peering(trusted, echo) as peers, client(peers.url, trusted) as posting:
        await post(posting, peers.url)
        connection = posting._connection

        def bug(data: bytes) -> None:
            raise KeyError("bug")

        monkeypatch.setattr(connection, "_received", bug)
        assert await refusal(posting, peers.url) == "the connection broke"
        assert (await post(posting, peers.url)).status == 200
    assert "a connection to a gateway failed" in caplog.text


async def test_what_goes_wrong_beside_it_is_not_wrapped(trusted: Authority) -> None:
    with pytest.raises(LookupError, match="other"):
        async with client("https://push.example", trusted):
            raise LookupError("other")


class Weather:
    """A gateway that answers late and in any order, and now and then does something else."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    async def __call__(self, asked: Asked) -> None:
        for _ in range(self.chance.randrange(20)):
            await trio.lowlevel.checkpoint()
        with suppress(h2.exceptions.ProtocolError):  # it was reset meanwhile, or the peer has left
            await self._act(asked)

    async def _act(self, asked: Asked) -> None:
        match self.chance.randrange(40):
            case 0:
                await asked.on.leave(self.chance.choice((0, asked.stream - 2, asked.stream)))
            case 1:
                await asked.on.hang_up()
            case 2:
                await asked.reset()
            case _:
                await asked.answer(200, asked.body)


@pytest.mark.parametrize("seed", SEEDS)
async def test_any_weather(trusted: Authority, seed: int) -> None:
    """Whoever gets an answer gets his own, whatever the gateway does to the others."""
    print(f"TIDELOG_SEED={seed} TIDELOG_SEEDS=1 pytest tests/api/push/test_http2.py")
    chance = random.Random(seed)
    settings = {
        SettingCodes.MAX_CONCURRENT_STREAMS: chance.choice((1, 5, 100)),
        SettingCodes.INITIAL_WINDOW_SIZE: chance.choice((7, 100, 65_535)),
    }
    answered = 0

    async def one(posting: Http2Client, peers: Peers) -> None:
        nonlocal answered
        body = chance.randbytes(chance.choice((0, 1, 300)))
        with trio.CancelScope() as scope, suppress(NotSent):
            if chance.random() < 0.05:
                scope.cancel()
            assert (await post(posting, peers.url, body)).body == body
            answered += 1

    weather = Weather(chance)
    async with peering(trusted, weather, settings) as peers, client(peers.url, trusted) as posting:
        for _ in range(10):
            async with trio.open_nursery() as nursery:
                for _ in range(30):
                    nursery.start_soon(one, posting, peers)
    assert answered > 50
