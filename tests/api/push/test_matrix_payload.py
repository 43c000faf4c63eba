"""From what was published to a Matrix notification, plain and encrypted: the whole mapping."""

import json
from typing import Any

import pytest

from api.push import matrix_payload
from api.push.outcome import NotSent
from broker.push.transport import BAD_BODY, PAYLOAD_REJECTED
from tests.api.push.pushers import APP_ID, MONTH_KEY, PUSHKEY
from tests.api.push.rig import ID, NOW_MS, outgoing
from tests.broker.push.gematik_client import opened

Json = dict[str, Any]
RECIPIENT: Json = {"appId": APP_ID, "pushkey": PUSHKEY, "encryption": {"keyIdentifier": "k"}}
EVENT = f"${ID}"


def plain(payload: Json, **recipient: Any) -> Json:
    """But for its devices, if there is nothing but the address in them."""
    to = matrix_payload.pusher({**RECIPIENT, **recipient})
    told = matrix_payload.plain(outgoing({}, payload, updated_ms=NOW_MS), to)
    (device,) = told.pop("devices")
    expected = {"app_id": APP_ID, "pushkey": PUSHKEY, "pushkey_ts": NOW_MS // 1_000}
    assert device.items() >= expected.items()
    more = {name: value for name, value in device.items() if name not in expected}
    return {**told, "device": more} if more else told


def encrypted(payload: Json, **recipient: Any) -> tuple[Json, Json]:
    """What is in the text, and what is beside it but for the address and the key."""
    to = matrix_payload.pusher({**RECIPIENT, **recipient})
    told = matrix_payload.encrypted(outgoing({}, payload), to, MONTH_KEY)
    text = json.loads(opened(MONTH_KEY.key, told.pop("ciphertext")))
    assert (told.pop("time_message_encrypted"), told.pop("key_identifier")) == (
        MONTH_KEY.month,
        "k",
    )
    device = told.pop("device")
    assert device.keys() <= {"app_id", "pushkey", "pushkey_ts", "data"}
    return text, told


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (
            {
                "notification": {
                    "title": "T",
                    "body": "B",
                    "icon": "I",
                    "collapseKey": "c",
                    "ttl": 9,
                }
            },
            {"content": {"title": "T", "body": "B", "icon": "I"}, "prio": "high"},
        ),
        ({"data": {"n": 7}}, {"content": {"data": {"n": 7}}, "prio": "low"}),
        (
            {"notification": {"title": "T", "sound": "ping"}},
            {"content": {"title": "T"}, "device": {"tweaks": {"sound": "ping"}}, "prio": "high"},
        ),
        ({"matrix": {}}, {"prio": "low"}),
        (
            {"matrix": {"counts": {"unread": 2, "missed_calls": 0}}},
            {"counts": {"unread": 2}, "prio": "low"},
        ),
        ({"matrix": {"counts": {"unread": 0}}}, {"prio": "low"}),
        ({"matrix": {"content": {"body": "x"}}}, {"content": {"body": "x"}, "prio": "high"}),
        (
            {
                "notification": {"title": "T"},
                "matrix": {"prio": "low", "room_id": "!r", "sender": "@s"},
            },
            {"content": {"title": "T"}, "prio": "low", "room_id": "!r", "sender": "@s"},
        ),
        (
            {
                "notification": {"title": "T", "body": "B"},
                "matrix": {"content": {"body": None, "msgtype": "m"}},
            },
            {"content": {"title": "T", "body": None, "msgtype": "m"}, "prio": "high"},
        ),
        ({"matrix": {"event_id": "$mine"}}, {"event_id": "$mine", "prio": "low"}),
        (
            {"matrix": {"tweaks": {"highlight": True}}},
            {"device": {"tweaks": {"highlight": True}}, "prio": "low"},
        ),
        ({"matrix": {"identifier": "x"}}, {"prio": "low"}),
        ({"matrix": {"devices": [{"pushkey": "another"}], "device": {}}}, {"prio": "low"}),
        (
            {"notification": {"title": "T"}, "apns": {"x": 1}, "web": {"y": 2}},
            {"content": {"title": "T"}, "prio": "high"},
        ),
    ],
)
def test_plain(payload: Json, told: Json) -> None:
    assert plain(payload) == {"event_id": EVENT, **told}


def test_a_publisher_may_leave_out_the_event() -> None:
    assert plain({"matrix": {"event_id": None}}) == {"prio": "low"}


@pytest.mark.parametrize(
    ("payload", "text", "beside"),
    [
        (
            {"matrix": {"content": {"ChannelId": "erp.task.accept", "Identifier": "1"}}},
            {"ChannelId": "erp.task.accept", "Identifier": "1"},
            {"prio": "high"},
        ),
        (
            {"notification": {"title": "T", "sound": "ping"}, "data": {"n": 7}},
            {"title": "T", "data": {"n": 7}, "tweaks": {"sound": "ping"}},
            {"prio": "high"},
        ),
        (
            {
                "matrix": {
                    "room_id": "!r",
                    "sender": "@s",
                    "event_id": "$mine",
                    "counts": {"unread": 3},
                }
            },
            {"room_id": "!r", "sender": "@s", "event_id": "$mine"},
            {"prio": "low", "counts": {"unread": 3}},
        ),
        (
            {"matrix": {"identifier": "i", "prio": "low", "device": {"pushkey": "x"}}},
            {},
            {"prio": "low", "identifier": "i"},
        ),
        ({"data": {"n": 1}}, {"data": {"n": 1}}, {"prio": "low"}),
    ],
)
def test_encrypted(payload: Json, text: Json, beside: Json) -> None:
    """Nothing is beside the text but what a gateway needs."""
    assert encrypted(payload) == (text, beside)


def test_a_pusher_that_wants_ids_only() -> None:
    payload = {
        "notification": {"title": "T", "sound": "ping"},
        "data": {"n": 7},
        "matrix": {"room_id": "!r", "sender": "@s", "counts": {"unread": 1}},
    }
    data = {"format": "event_id_only", "url": "https://gateway.example"}
    counts = {"prio": "high", "counts": {"unread": 1}}
    assert plain(payload, data=data) == {
        "event_id": EVENT,
        "room_id": "!r",
        **counts,
        "device": {"data": {"format": "event_id_only"}},
    }
    assert encrypted(payload, data=data) == ({"event_id": EVENT, "room_id": "!r"}, counts)
    named = {"matrix": {"event_id": "$mine"}}
    assert encrypted(named, data=data) == ({"event_id": "$mine"}, {"prio": "low"})


def test_the_data_of_a_pusher_goes_along_without_its_url() -> None:
    found = plain({"matrix": {}}, data={"url": "https://x", "platform": "ios", "n": {"url": 1}})
    assert found["device"] == {"data": {"platform": "ios", "n": {"url": 1}}}


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"matrix": "x"}, BAD_BODY),
        ({"matrix": []}, BAD_BODY),
        ({"notification": "x"}, BAD_BODY),
        ({"data": "x"}, BAD_BODY),
        ({"matrix": {"prio": "urgent"}}, BAD_BODY),
        ({"matrix": {"prio": None}}, BAD_BODY),
        ({"matrix": {"counts": 7}}, BAD_BODY),
        ({"matrix": {"content": "x"}}, BAD_BODY),
        ({"matrix": {"tweaks": [1]}}, BAD_BODY),
        ({"matrix": {"content": {"x": "x" * 64_000}}}, PAYLOAD_REJECTED),
    ],
)
def test_what_cannot_be(payload: Json, code: int) -> None:
    for way in (plain, encrypted):
        with pytest.raises(NotSent) as caught:
            way(payload)
        assert caught.value.result.code == code
