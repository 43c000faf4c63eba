"""What devices report: kept once, told to webhooks, and refused without a 5xx."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.event import Kind
from broker.push.events import PushReported
from storage import Span, Stream
from tests.api.beams.beams_server import ID, OTHER, Refused, refused
from tests.api.beams.publishing import Publishing, publishing
from tests.broker.acting import Time

PUBLISH = f"pubid-{ID}"


@pytest.fixture
async def beams(tmp_path: Path, time: Time) -> AsyncIterator[Publishing]:
    async with publishing(tmp_path, time) as running:
        yield running


async def reported(beams: Publishing) -> list[Any]:
    stream = Stream(beams.app, "", Kind.PUBLISHES)
    page = await beams.broker.log.read(stream, Span(), limit=100)
    return [record.event for record in page.records if isinstance(record.event, PushReported)]


async def test_what_a_device_says_is_kept_once(beams: Publishing) -> None:
    await beams.device("web-1")
    await beams.device("fcm-1")
    said = (
        {},
        {"event": "Delivery", "instanceId": ID, "hasData": True, "userId": None},
        {"event": "open", "timestampSecs": 1.75},
        {"event": "OPEN"},
        {"deviceId": "fcm-1", "appInBackground": False, "more": {}},
    )
    for changed in said:
        reply = await beams.report(**changed)
        assert (reply.status_code, reply.content) == (200, b"")
    assert await reported(beams) == [
        PushReported(PUBLISH, "web-1", "delivery", 1_700_000_000_000),
        PushReported(PUBLISH, "web-1", "open", 1_750),
        PushReported(PUBLISH, "fcm-1", "delivery", 1_700_000_000_000),
    ]


async def test_of_a_device_that_is_not_there_nothing_is_kept(beams: Publishing) -> None:
    position = beams.broker.log.position
    assert (await beams.report(deviceId="web-9")).status_code == 200
    assert beams.broker.log.position == position


def bad(said: str) -> Refused:
    return (400, "Bad request", said)


FIELDS: dict[str, tuple[Any, str]] = {
    "event": ("received", "event given is not valid."),
    "publishId": ("pubid-x", "publishId given is not valid."),
    "deviceId": ([], "deviceId given is not valid."),
    "timestampSecs": ("now", "timestampSecs given is not valid."),
}


@pytest.mark.parametrize("field", FIELDS)
async def test_400_a_field_is_missing_or_no_such_thing(beams: Publishing, field: str) -> None:
    await beams.device("web-1")
    position = beams.broker.log.position
    for missing in (..., None):
        reply = await beams.report(**{field: missing})
        assert refused(reply) == bad(f"{field} is missing from body.")
    value, said = FIELDS[field]
    for wrong in (value, True, {}, -1, "x" * 257, 10**12, 10**400):
        assert refused(await beams.report(**{field: wrong})) == bad(said), wrong
    assert refused(await beams.report(userId=1)) == bad("userId given is not valid.")
    assert beams.broker.log.position == position


ROWS: dict[str, tuple[str, dict[str, Any], Refused]] = {
    "400-content-type": (
        ID,
        {"content": b"{}", "headers": {"Content-Type": "text/plain"}},
        (400, "Invalid content type", "Only application/json is supported."),
    ),
    "400-no-instance": (
        "",
        {"json": {}},
        (400, "Incomplete Request", "instance-id param is missing from path."),
    ),
    "400-bad-instance": (
        "x",
        {"json": {}},
        bad(
            "The instance id given is invalid. It is expected to be in this format:"
            " 426abfc7-41fe-492f-bcf1-27586fa9bd3f ."
        ),
    ),
    "400-not-json": (
        ID,
        {"content": b"{", "headers": {"Content-Type": "application/json"}},
        bad("Failed to read body as a JSON object."),
    ),
    "400-no-object": (ID, {"json": [1]}, bad("Failed to read body as a JSON object.")),
    "400-too-large": (
        ID,
        {"json": {"a": "x" * 10_240}},
        bad("Request body size is too large (max 10KiB)."),
    ),
    "404-unknown-instance": (
        OTHER,
        {"json": {}},
        (404, "Instance not found", "Could not find the instance."),
    ),
}


async def test_errors_of_reporting(beams: Publishing) -> None:
    for row, (instance, sent, expected) in ROWS.items():
        path = f"/reporting_api/v2/instances/{instance}/events"
        assert refused(await beams.call("POST", path, **sent)) == expected, row
