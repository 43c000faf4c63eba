"""Any route, any parameter, any body: never a 5xx, never another shape, never half a write.

As `test_rest_fuzz`, but it knows no route: they are those that are declared (tests.api.declared),
and so are their parameters. What a reply says is looked at out of its format and its envelope.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import httpx
import msgspec
import pytest
from hypothesis import strategies as st

from api.control import Control
from api.openapi import Endpoint
from broker.event import Kind
from broker.interactions.summaries import METHODS
from tests.api.any_format import ALL_TYPES, said
from tests.api.declared import check_answer, endpoints
from tests.api.push_bodies import PUSH_BODIES
from tests.api.rest_content import fill
from tests.api.rest_server import JSON, MSGPACK, RestServer, basic, rest_server
from tests.api.test_rest_forms import FORM
from tests.api.test_rest_fuzz import (
    bodies,
    check_shape,
    encoded,
    encodings,
    examples,
    extras,
    messages,
    mutated,
    records_since,
    text,
    values,
)
from tests.api.test_rest_tokens import odd, requests, revocations, signed
from tests.api.written import was_written

GETS_THAT_WRITE = {"updatePushDeviceDetails"}  # as the first API had it
TEXTS = {"/docs", "/is-the-internet-up.txt", "/push/publicVapidKey"}
PLAUSIBLE: dict[str, list[str]] = {
    "format": [*ALL_TYPES, "xml"],
    "envelope": [*ALL_TYPES, "true"],
    "callback": ["a.b", "alert(1)", "$"],
    "fields": ["name,id", "channelId", "results.channel", "a..b", ",".join("a" * 51)],
    "select": ["*", "*.*", "*.name", "results.*.error.code", ".", ",".join("*" * 51)],
    "flatten": ["true", "false", "maybe"],
    "limit": ["1", "2", "1000", "1001", "0", "-1"],
    "by": ["id", "value"],
    "direction": ["forwards", "backwards", "sideways"],
    "start": ["0", "now", "-1"],
    "end": ["now", "9" * 15, "1e3"],
    "cursor": ["YQ==", "A" * 684, "A" * 688, "01726585978590-001@otherseries:001"],
    "enveloped": ["true", "false"],
    "channels": ["c", "c,d", "[x", ",", "c;d"],
    "channel": ["c", "[meta]c"],
    "separator": [",", ";", "x" * 17],
    "prefix": ["c", "\U0001f600", "x" * 500],
    "encoding": ["json", "base64", "utf-8/base64"],
    "clientId": ["ann", "*"],
    "deviceId": ["dev", "pad", "gone"],
    "concatFilters": ["true", "false"],
    "messageId": ["i", "a:0"],
    "v": ["1.2", "2", "3", "x"],
}
OWN_BASE = re.compile(r"[\w-]{10}:0")  # of ids that nobody chose, so that they repeat nothing
CREDENTIALS = ("key", "access_token", "accessToken")


def names_of(endpoint: Endpoint) -> list[str]:
    kinds = [kind for kind in (endpoint.operation.params, Control) if kind]
    own = [field.encode_name for kind in kinds for field in msgspec.structs.fields(kind)]
    return [*own, "v"]


def parameters_of(endpoint: Endpoint) -> st.SearchStrategy[list[tuple[str, str]]]:
    names = st.sampled_from(names_of(endpoint)) | st.sampled_from([*PLAUSIBLE, *CREDENTIALS]) | text
    return st.lists(names.flatmap(parameter), max_size=5)


def parameter(name: str) -> st.SearchStrategy[tuple[str, str]]:
    likely = [*PLAUSIBLE.get(name, ()), "1", "true", ""]
    return st.tuples(st.just(name), st.sampled_from(likely) | text)


good_messages = st.fixed_dictionaries(
    {}, optional={"id": st.sampled_from(["a", "a:0", "b"]), "data": text, "name": text}
)
channels = st.sampled_from(["c", "d", "c", "[x", ""]) | text
good_specs = st.fixed_dictionaries(
    {
        "channels": st.lists(channels, min_size=1, max_size=3) | channels,
        "messages": good_messages | st.lists(good_messages, min_size=1, max_size=3),
    }
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "channels": st.lists(channels, max_size=3) | values,
        "messages": messages | st.lists(messages, max_size=3) | values,
    },
)
batches = st.lists(good_specs, max_size=3) | good_specs | st.lists(specs, max_size=3) | specs
targets = (
    st.sampled_from(["clientId:ann", "channel:c", "revocationKey:x", "nonsense:x", ":"]) | text
)
good_revocations = st.fixed_dictionaries(
    {"targets": st.lists(targets, min_size=1, max_size=3)},
    optional={"allowReauthMargin": st.booleans() | st.sampled_from(["true", "false"])},
)
app_specs = st.fixed_dictionaries(
    {},
    optional={
        "keys": st.lists(st.dictionaries(st.just("capability"), odd, max_size=1), max_size=2) | odd,
        "namespaces": st.lists(st.fixed_dictionaries({"id": odd}), max_size=2) | odd,
        "channels": st.lists(st.fixed_dictionaries({"name": odd}), max_size=2) | odd,
        "limits": odd,
    },
)
amounts = st.dictionaries(
    st.sampled_from(["count", "data", "peak", "opened", "succeeded", "realtime", "messages"])
    | text,
    st.integers(-1, 1 << 33) | values | st.just({"messages": {"count": 1}}),
    max_size=3,
)
stats_fixtures = (
    st.lists(
        st.fixed_dictionaries(
            {"intervalId": st.sampled_from(["2023-02-03:15:03", "2023-02", "now", ""]) | text},
            optional={"inbound": amounts, "channels": amounts, "apiRequests": amounts},
        ),
        max_size=3,
    )
    | values
)
changes = (
    st.fixed_dictionaries(
        {"action": st.sampled_from([1, 2, 5]) | values},
        optional={
            "data": values | text,
            "encoding": encodings,
            "name": values | text,
            "extras": values | extras,
            "version": st.fixed_dictionaries(
                {}, optional={"clientId": values | text, "description": text, "metadata": values}
            )
            | values,
            "serial": text,
        },
    )
    | values
)
annotations = (
    st.lists(
        st.fixed_dictionaries(
            {
                "action": st.sampled_from([0, 1]) | values,
                "type": st.sampled_from([f"t:{method}" for method in METHODS]) | text,
            },
            optional={
                "name": st.sampled_from(["a", "b"]) | values,
                "count": st.integers(-1, 3) | values,
                "clientId": st.sampled_from(["ann", "*"]) | values,
                "data": values,
                "id": st.sampled_from(["x:0", "x:1"]) | values,
                "extras": values,
            },
        ),
        max_size=3,
    )
    | values
)
BODIES: dict[str, st.SearchStrategy[Any]] = {
    "publishMessagesToChannel": bodies,
    "publishBatch": batches,
    "requestAccessToken": requests | st.just("signed"),
    "revokeTokens": good_revocations | revocations,
    "createApp": app_specs,
    "addStats": stats_fixtures,
    "changeMessage": changes,
    "annotateMessage": annotations,
    **PUSH_BODIES,
}
content_types = st.sampled_from(
    [JSON, JSON, MSGPACK, FORM, "text/plain", "application/octet-stream", "", "image/png"]
)


class Example(NamedTuple):
    endpoint: Endpoint
    method: str
    segments: dict[str, str]
    parameters: list[tuple[str, str]]
    headers: dict[str, str]
    with_key: bool
    body: Any
    content_type: str
    damage: tuple[int, int] | None

    def path(self, key: str) -> str:
        segments = {**self.segments, "key_name": key} if self.with_key else self.segments
        path = self.endpoint.path.format(**segments)
        return f"{path}?{urlencode(self.parameters, errors='replace')}"

    def first(self, name: str) -> str:
        return next((value for given, value in self.parameters if given == name), "")

    @property
    def is_shaped(self) -> bool:
        if self.method not in ("GET", "HEAD"):
            return False
        return bool(
            self.first("fields")
            or self.first("select")
            or self.first("flatten").lower() in ("true", "1")
        )


segments = st.sampled_from(["c", "d", "[x", "a/b"]) | st.text(min_size=1, max_size=8)
# Mostly a message that can be changed, where a route is about one.
OF_A_MESSAGE = {
    "channel_id": st.just("m:c") | st.just("m:c") | segments,
    "serial": st.just("SERIAL") | st.just("SERIAL") | segments,
}
headers = st.fixed_dictionaries(
    {},
    optional={
        "Accept": st.sampled_from([*ALL_TYPES.values(), "*/*", "text/html;q=0.5, */*"]),
        "X-Ably-Version": st.sampled_from(["1.2", "2", "3", "6", "x", ""]),
        "X-Ably-Name": st.just("n"),
        "X-Ably-ClientId": st.sampled_from(["YW5u", "no base64!", "Kg=="]),
    },
)


DEVICE_IDS = st.sampled_from(["dev", "dev", "pad"]) | segments


def segment(name: str) -> str:
    """In a path, whatever is in it: not even a dot that clients would resolve."""
    return quote(name, safe="", errors="replace").replace(".", "%2E")


def segments_of(endpoint: Endpoint, name: str) -> st.SearchStrategy[str]:
    if name == "device_id":
        return DEVICE_IDS
    return OF_A_MESSAGE.get(name, segments) if "serial" in endpoint.names else segments


def of(endpoint: Endpoint) -> st.SearchStrategy[Example]:
    other_methods = ["HEAD", "OPTIONS", "PUT"] if endpoint.method == "GET" else ["PATCH"]
    return st.builds(
        Example,
        endpoint=st.just(endpoint),
        method=st.sampled_from([endpoint.method] * 6 + other_methods),
        segments=st.fixed_dictionaries(
            {name: segments_of(endpoint, name).map(segment) for name in endpoint.names}
        ),
        parameters=parameters_of(endpoint),
        headers=headers,
        with_key=st.sampled_from([True, True, True, False]),
        body=BODIES.get(endpoint.operation.id, st.none()),
        content_type=content_types,
        damage=st.none() | st.none() | st.tuples(st.integers(0, 5), st.integers(0, 1 << 16)),
    )


def form_of(value: Any) -> bytes:
    """An object as a form; what is no object as one field."""
    fields = value if isinstance(value, dict) else {"data": value}
    pairs = [
        (name, item if isinstance(item, str) else encoded(item, JSON).decode())
        for name, inner in fields.items()
        for item in (inner if isinstance(inner, list) else [inner])
    ]
    return urlencode(pairs, errors="replace").encode()


def content(server: RestServer, example: Example, nonce: int) -> bytes | None:
    if example.method in ("GET", "HEAD", "OPTIONS", "DELETE"):
        return None
    body = example.body
    if body == "signed":
        body = signed(server, nonce=f"0123456789abcdef{nonce}")
    raw = form_of(body) if example.content_type == FORM else encoded(body, example.content_type)
    return mutated(raw, *example.damage) if example.damage else raw


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RestServer]:
    async with rest_server(tmp_path / "data", sandbox=True) as running:
        await fill(running)
        running.key = await running.broker.apps.create_key(running.app, revocable_tokens=True)
        yield running


@pytest.mark.parametrize("name", endpoints())
async def test_any_request(sandbox: RestServer, name: str) -> None:
    by_key = await sandbox.connect(basic(sandbox.key.string))
    nobody = await sandbox.connect({})
    for client in (by_key, nobody):
        del client.headers["accept"]
    log = sandbox.broker.log
    nonces = iter(range(1_000_000))

    async def check(example: Example) -> None:
        body = content(sandbox, example, next(nonces))
        before = log.position
        reply = await (by_key if example.with_key else nobody).request(
            example.method,
            example.path(sandbox.key.name),
            content=body,
            headers={**example.headers, "Content-Type": example.content_type},
        )
        assert reply.headers["x-request-id"]
        if example.method in ("HEAD", "OPTIONS") or is_text(reply):
            assert reply.status_code < 500
            assert not await was_written(sandbox, before)
            return
        if example.method != example.endpoint.method:  # it may be another route's
            assert reply.status_code < 500
            return
        if reply.status_code == 204:
            assert not reply.content
            assert "content-type" not in reply.headers
            assert example.endpoint.operation.status == 204
            return
        check_shape(reply)
        check_what_happened(example, reply, await was_written(sandbox, before))

    await examples(of(endpoints()[name]), check)


def is_text(reply: httpx.Response) -> bool:
    return reply.is_success and reply.request.url.path in TEXTS


def check_what_happened(example: Example, reply: httpx.Response, is_written: bool) -> None:
    """A refusal leaves the log as it was, and so does whoever only reads; unshaped success is what
    the route declares."""
    found = said(reply)
    described = example.endpoint.operation
    if found.status >= 400:
        is_partial = found.value["error"]["code"] == 40020
        assert is_partial or not is_written
        if is_partial and not any("error" not in item for item in found.value["batchResponse"]):
            assert not is_written
        return
    assert found.status == described.status
    if example.method == "GET" and described.id not in GETS_THAT_WRITE:
        assert not is_written
    kind = reply.headers["content-type"]
    if kind in (JSON, MSGPACK) and not example.is_shaped and found.status != 204:
        check_answer(described, found.value)


async def test_a_batch_is_published_as_it_says(sandbox: RestServer) -> None:
    """Of each channel all or nothing, and nothing where it says so."""
    client = await sandbox.connect(basic(sandbox.key.string))
    log = sandbox.broker.log

    async def check(example: tuple[Any, str]) -> None:
        body, kind = example
        before = log.position
        reply = await client.post(
            "/messages?v=3",
            content=encoded(body, kind),
            headers={"Content-Type": kind, "Accept": JSON},
        )
        check_shape(reply)
        written = await records_behind(sandbox, before)
        if not reply.is_success:
            assert written == 0
            return
        results = [item for result in reply.json() for item in result["results"]]
        done = [item for item in results if "error" not in item]
        at_most = sum(len(item["serials"]) for item in done)
        at_least = sum(len(i["serials"]) for i in done if OWN_BASE.fullmatch(i["messageId"]))
        assert at_least <= written <= at_most + 2 * len(done)  # a channel opens with two more

    await examples(st.tuples(batches, st.sampled_from([JSON, MSGPACK])), check)


async def records_behind(server: RestServer, position: int) -> int:
    """Without usage: a minute may be over at any time."""
    return sum(r.stream.kind != Kind.STATS for r in await records_since(server, position))


def test_every_body_is_known() -> None:
    assert BODIES.keys() == {
        name for name, endpoint in endpoints().items() if endpoint.operation.body is not None
    }
