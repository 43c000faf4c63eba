"""Whatever a client sends: never a 5xx, never a reply of another shape, never half a publish.

Hypothesis runs on a thread and asks one server through the event loop; a failing example and its
seed are printed. What the server logs as an error fails the test (conftest.py).
"""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgpack
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.clock import wall_clock
from broker.event import Kind
from broker.events import StatsRecorded
from broker.stats.intervals import MINUTE_MS
from storage import Record
from storage.reading import read_after
from tests.api.any_format import check_error, check_headers, said
from tests.api.rest_server import JSON, MSGPACK, RestServer, decode, rest_server

EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
Check = Callable[..., Awaitable[None]]

text = st.text(max_size=12)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    text,
    st.binary(max_size=8),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
fields = (
    "id",
    "name",
    "data",
    "encoding",
    "clientId",
    "connectionKey",
    "extras",
    "action",
    "serial",
)
extras = st.dictionaries(
    st.sampled_from(["push", "headers", "ref", "ephemeral", "privileged", "ai", "delta"]) | text,
    values,
    max_size=3,
)
encodings = st.sampled_from(["json", "base64", "utf-8/base64", "json/base64", "cipher+aes", ""])
messages = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(fields, values),
        "id": values | st.sampled_from(["a", "a:0", "a:1", "b:0"]),
        "data": values | text,
        "encoding": values | encodings,
        "extras": values | extras,
    },
)
bodies = messages | st.lists(messages, max_size=3) | values
media_types = st.sampled_from([JSON, MSGPACK, "", "text/plain", "application/x-msgpack; x=y"])
# Visible ASCII and high bytes: what HTTP lets through in a header.
header_values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=40).map(
    lambda value: value.replace("\x7f", "")
)
PARAMETERS = """
    start end limit direction cursor from_serial fromSerial format ephemeral _forceNack
    request_id key access_token accessToken envelope callback unit by
"""
FIXTURE_FIELDS = """
    intervalId inbound outbound persisted connections channels apiRequests realtime rest all tls
    messages presence count data peak min opened succeeded
"""
intervals = st.sampled_from(["2024-02", "2024-02-30", "2024-02-03:15:05", "2024-02-03:24", "-"])
parameters = st.lists(
    st.tuples(
        st.sampled_from(PARAMETERS.split()) | text,
        st.sampled_from(["1", "now", "forwards", "true", "-1", "1e3", "9" * 15, "jsonp", "month"])
        | intervals
        | text,
    ),
    max_size=4,
)


def mutated(body: bytes, cut: int, flip: int) -> bytes:
    """A body with its end gone and one byte changed: close to what is accepted."""
    damaged = bytearray(body[: len(body) - cut] if cut else body)
    if damaged:
        damaged[flip % len(damaged)] ^= 1 + flip % 255
    return bytes(damaged)


def encoded(value: Any, content_type: str) -> bytes:
    if content_type.startswith(MSGPACK):
        try:
            return bytes(msgpack.packb(value))
        except (ValueError, OverflowError, UnicodeEncodeError):
            return b"\xc0"
    return json.dumps(value, default=lambda raw: raw.decode("latin-1")).encode()


async def examples(strategy: Any, check: Check, how: settings = EXAMPLES) -> None:
    """Run `check` on this event loop for every example."""

    @how
    @given(strategy)
    def run(example: Any) -> None:
        trio.from_thread.run(check, example)

    await trio.to_thread.run_sync(run)


def check_shape(reply: httpx.Response) -> None:
    assert reply.status_code < 500, reply.text
    assert reply.headers["x-request-id"]
    check_headers(reply)
    found = said(reply)
    assert found.status < 500, found.value
    if found.status >= 400:
        check_error(found)


async def publish(server: RestServer, content: bytes, headers: dict[str, str]) -> None:
    """A refusal leaves the log as it was; a success appends all of its messages or none."""
    before = server.broker.log.position
    reply = await server.client.post("/channels/c/messages", content=content, headers=headers)
    check_shape(reply)
    # A minute may be over at any time: the statistics' own records do not count.
    records = await records_since(server, before)
    appended = sum(record.stream.kind != Kind.STATS for record in records)
    if not reply.is_success:
        assert appended == 0
        return
    assert reply.status_code == 201
    serials = decode(reply)["serials"]
    # Besides messages, the channel itself the first time.
    assert appended in (0, len(serials), len(serials) + 2)


async def records_since(server: RestServer, before: int) -> list[Record]:
    log = server.broker.log
    return await log.in_thread(
        lambda reader: read_after(reader, before, 1_000, log.domain.decode, log.settings)
    )


async def test_publish_bodies(server: RestServer) -> None:
    async def check(example: tuple[Any, str, str]) -> None:
        body, content_type, accept = example
        headers = {"Content-Type": content_type, "Accept": accept}
        await publish(server, encoded(body, content_type), headers)
        await read_back(server)

    await examples(st.tuples(bodies, media_types, media_types), check)


async def read_back(server: RestServer) -> None:
    """Whatever was accepted can be read in both formats, without a null."""
    for accept in (JSON, MSGPACK):
        reply = await server.client.get("/channels/c/messages?limit=3", headers={"Accept": accept})
        for message in decode(reply):
            assert None not in message.values()
            assert message.keys() >= {"id", "serial", "timestamp", "action", "version"}


async def test_damaged_bodies(server: RestServer) -> None:
    async def check(example: tuple[Any, str, int, int]) -> None:
        body, content_type, cut, flip = example
        content = mutated(encoded(body, content_type), cut, flip)
        await publish(server, content, {"Content-Type": content_type})

    damage = st.tuples(bodies, media_types, st.integers(0, 5), st.integers(0, 1 << 16))
    await examples(damage, check)


async def test_parameters(server: RestServer) -> None:
    await server.publish("c", [{"data": "x"}] * 3)

    async def check(example: tuple[list[tuple[str, str]], bool]) -> None:
        params, read = example
        if read:
            check_shape(await server.client.get("/channels/c/messages", params=params))
        else:
            check_shape(await server.client.post("/channels/c/messages", params=params, json={}))

    await examples(st.tuples(parameters, st.booleans()), check)


async def test_statistics(tmp_path: Path) -> None:
    """What is asked for, and what is made up; a refusal records nothing."""
    names = st.sampled_from(FIXTURE_FIELDS.split())
    nested = st.recursive(
        scalars | st.integers(0, 5),
        lambda inner: st.dictionaries(names, inner, max_size=3) | st.lists(inner, max_size=2),
        max_leaves=8,
    )
    times = st.dictionaries(st.just("intervalId"), intervals | text, max_size=1)
    fixtures = st.lists(
        st.builds(dict.__or__, st.dictionaries(names, nested, max_size=3), times), max_size=3
    )
    began_ms = wall_clock() - MINUTE_MS
    async with rest_server(tmp_path / "sandbox", sandbox=True) as server:

        async def check(
            example: tuple[list[tuple[str, str]], bool, Any, str],
        ) -> None:
            params, read, body, content_type = example
            if read:
                check_shape(await server.client.get("/stats", params=params))
                return
            before = server.broker.log.position
            headers = {"Content-Type": content_type}
            content = encoded(body, content_type)
            reply = await server.client.post("/stats", content=content, headers=headers)
            check_shape(reply)
            recorded = [
                record
                for record in await records_since(server, before)
                if isinstance(record.event, StatsRecorded) and record.event.minute_ms < began_ms
            ]
            assert len(recorded) == (len(body) if reply.is_success else 0)

        bodies = fixtures | nested | values
        await examples(st.tuples(parameters, st.booleans(), bodies, media_types), check)


async def test_credentials(server: RestServer) -> None:
    client = await server.connect({})
    prefixes = st.sampled_from(["", "Basic ", "Bearer ", "basic", "Bearer Bearer "])
    names = ("Authorization", "X-Ably-ClientId", "X-Ably-Version", "Accept", "X-Request-Id")
    fuzzed = st.dictionaries(st.sampled_from(names), header_values, max_size=4)

    async def check(example: tuple[str, str, dict[str, str]]) -> None:
        prefix, value, headers = example
        sent = {"Authorization": f"{prefix}{value}".strip(), **headers}
        raw = [(name.encode(), text.encode("latin-1")) for name, text in sent.items()]
        reply = await client.get("/channels/c/messages", headers=raw)
        check_shape(reply)
        assert reply.status_code in (400, 401, 404)

    await examples(st.tuples(prefixes, header_values, fuzzed), check)


async def test_paths(server: RestServer) -> None:
    segments = st.binary(min_size=1, max_size=20).map(
        lambda raw: "".join(f"%{byte:02X}" for byte in raw)
    )

    async def check(segment: str) -> None:
        path = f"/channels/{segment}/messages"
        reply = await server.client.post(path, json={"data": "x"})
        check_shape(reply)
        if reply.is_success:
            (message,) = decode(await server.client.get(path, params={"limit": "1"}))
            assert message["serial"] == decode(reply)["serials"][0]

    await examples(segments, check)
