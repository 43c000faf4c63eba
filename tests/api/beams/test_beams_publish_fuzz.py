"""Whatever a server or a device sends: never a 5xx, never an error of another shape, and nothing
half-accepted: what was appended is the whole of what was asked, or nothing.

As in test_beams_fuzz: Hypothesis runs on a thread, a failing example and its seed are printed, and
what the server logs as an error fails the test. What is accepted goes to devices of every platform,
so that what was taken for good is good for the transports.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import strategies as st

from broker.push.events import DeviceRemoved, PublishAccepted, PushReported
from storage.reading import read_after
from tests.api.beams.beams_server import ID, refused
from tests.api.beams.publishing import HELLO, KEY, Publishing, publishing
from tests.api.test_rest_fuzz import examples, mutated
from tests.broker.acting import Time

text = st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | text
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(text, values, max_size=3)
names = st.sampled_from(["a", "a", "a", "b", "x" * 164, "x" * 165, "a b", ""]) | text
field = st.sampled_from(
    ["notification", "data", "aps", "time_to_live", "apns-headers", "android", "priority", "token"]
)
parts = st.dictionaries(field, objects | values, max_size=3) | st.just(HELLO) | values
bodies = st.fixed_dictionaries(
    {},
    optional={
        "interests": st.lists(names, max_size=4) | values,
        "users": st.lists(names, max_size=4) | values,
        "apns": parts,
        "fcm": parts,
        "web": parts,
        "webhookUrl": st.sampled_from(["https://example.com/", "http://a", "https://"]) | values,
    },
)
good_parts = st.fixed_dictionaries(
    {"notification": st.just({"title": "é"})}, optional={"data": st.just({"n": "1"})}
)
good_bodies = st.fixed_dictionaries(
    {"web": good_parts},
    optional={"fcm": good_parts, "apns": good_parts, "more": values},
)
lists = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4)
ways = st.sampled_from(["", "/interests", "/users"])
keys = st.sampled_from([KEY, KEY, KEY, KEY + "x", "x"])


@pytest.fixture
async def beams(tmp_path: Path, time: Time) -> AsyncIterator[Publishing]:
    async with publishing(tmp_path, time) as running:
        for id_ in ("web-1", "fcm-1", "apns-1"):
            await running.device(id_, "a", user="a")
        yield running


async def appended(beams: Publishing, after: int, *kinds: type) -> list[Any]:
    """The events of these kinds behind a position."""
    log = beams.broker.log
    records = await log.in_thread(
        lambda reader: read_after(reader, after, 1_000, log.domain.decode, log.settings)
    )
    return [record.event for record in records if isinstance(record.event, kinds)]


def check_shape(reply: httpx.Response) -> None:
    assert reply.status_code < 500, reply.text
    assert reply.status_code != 429, "the test is to let time pass"
    if reply.status_code != 200:
        refused(reply)


async def send(beams: Publishing, to: str, content: bytes, key: str = KEY) -> None:
    """Publish, and hold what came of it to what was asked."""
    await beams.time.passes(20)
    before = beams.broker.log.position
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    path = f"/publish_api/v1/instances/{ID}/publishes{to}"
    reply = await beams.call("POST", path, content=content, headers=headers)
    check_shape(reply)
    events = await appended(beams, before, PublishAccepted)
    if reply.status_code == 200:
        (accepted,) = [event for event in events if event.selector.recipient is None]
        asked, field = json.loads(content), "users" if to == "/users" else "interests"
        chosen = accepted.selector.clients if to == "/users" else accepted.selector.topics
        assert chosen == tuple(dict.fromkeys(asked[field]))
        named = {name for name in ("apns", "fcm", "web") if asked.get(name) is not None}
        assert accepted.payload.keys() == set(accepted.selector.transports) == named
        assert reply.json()["publishId"] in json.dumps(accepted.payload)
        assert len(events) == 1 + (asked.get("webhookUrl") is not None)
        await beams.until_tried()
    else:
        assert events == []


async def test_publishes(beams: Publishing, time: Time) -> None:
    async def check(example: tuple[str, Any, str]) -> None:
        to, body, key = example
        await send(beams, to, json.dumps(body).encode(), key)

    whole = st.builds(
        lambda body, names: body | names,
        good_bodies,
        st.one_of(
            st.builds(lambda found: {"interests": found}, lists),
            st.builds(lambda found: {"users": found}, lists),
        ),
    )
    await examples(st.tuples(ways, whole | bodies | values, keys), check)
    assert beams.at_browsers, "nothing that was made was good"


async def test_damaged_publishes(beams: Publishing, time: Time) -> None:
    async def check(example: tuple[str, Any, int, int]) -> None:
        to, body, cut, flip = example
        field = "users" if to == "/users" else "interests"
        await send(beams, to, mutated(json.dumps(body | {field: ["a"]}).encode(), cut, flip))

    damage = st.tuples(ways, good_bodies, st.integers(0, 3), st.integers(0, 1 << 16))
    await examples(damage, check)


async def test_reports(beams: Publishing) -> None:
    said = st.fixed_dictionaries(
        {},
        optional={
            "event": st.sampled_from(["delivery", "Open", "open"]) | values,
            "publishId": st.sampled_from([f"pubid-{ID}", "pubid-", ID]) | values,
            "deviceId": st.sampled_from(["web-1", "web-2"]) | values,
            "timestampSecs": st.integers(0, 10**10) | values,
            "userId": st.none() | st.just("a") | values,
        },
    )
    kept: set[tuple[str, str]] = set()

    async def check(body: Any) -> None:
        before = beams.broker.log.position
        path = f"/reporting_api/v2/instances/{ID}/events"
        content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        reply = await beams.call("POST", path, content=content, headers=headers)
        check_shape(reply)
        events = await appended(beams, before, PushReported)
        if not events:
            return
        (event,) = events
        assert reply.status_code == 200
        assert (event.publish, event.device) == (body["publishId"], body["deviceId"])
        assert (event.publish, event.what) not in kept
        kept.add((event.publish, event.what))

    good = {
        "event": "open",
        "publishId": f"pubid-{ID}",
        "deviceId": "web-1",
        "timestampSecs": 1.5,
    }
    await examples(said | values | st.just(good), check)
    assert kept


async def test_users_that_are_deleted(beams: Publishing, time: Time) -> None:
    async def check(example: tuple[str, str, bool]) -> None:
        user, api, is_encoded = example
        await beams.time.passes(20)
        await beams.device("web-1", user="a")
        for id_ in ("fcm-1", "apns-1"):
            await beams.broker.push.remove(beams.app, device=id_, api=None)
        before = beams.broker.log.position
        segment = quote(user, safe="" if is_encoded else "/")
        path = f"/{api}/v1/instances/{ID}/users/{segment}"
        reply = await beams.call("DELETE", path)
        check_shape(reply)
        assert await appended(beams, before, DeviceRemoved) == (
            [DeviceRemoved("web-1")] if user == "a" else []
        )

    users = st.sampled_from(["a", "b", "a/b", "", "x" * 165]) | text
    apis = st.sampled_from(["customer_api", "user_api"])
    await examples(st.tuples(users, apis, st.booleans()), check)
