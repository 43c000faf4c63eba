"""The mapping of payloads: a table for each platform, headers, lifetimes, sizes."""

from typing import Any

import msgspec
import pytest

from api.push import payload
from api.push.outcome import NotSent
from broker.push.transport import BAD_BODY, PAYLOAD_REJECTED, Verdict

FULL: dict[str, Any] = {
    "notification": {
        "title": "T",
        "body": "B",
        "icon": "I",
        "sound": "S",
        "collapseKey": "C",
        "ttl": 60,
    },
    "data": {"text": "t", "number": 7, "object": {"a": [1]}, "none": None},
}
ALERT = {"title": "T", "body": "B", "sound": "S"}


@pytest.mark.parametrize(
    ("published", "body"),
    [
        (FULL, {**FULL["data"], "aps": {"alert": ALERT, "sound": "S", "thread-id": "C"}}),
        ({"notification": {"title": "T"}}, {"aps": {"alert": {"title": "T"}}}),
        ({"data": {"a": 1}}, {"a": 1, "aps": {"content-available": 1}}),
        ({}, {"aps": {"content-available": 1}}),
        ({"data": {"aps": "mine"}}, {"aps": {"content-available": 1}}),
        (
            {"notification": {"title": "T"}, "apns": {"aps": {"alert": {"body": "B"}, "badge": 1}}},
            {"aps": {"alert": {"title": "T", "body": "B"}, "badge": 1}},
        ),
        (
            {"notification": {"title": "T"}, "apns": {"aps": {"alert": "whole"}}},
            {"aps": {"alert": "whole"}},
        ),
        (
            {"data": {"a": {"b": 1, "c": 2}}, "apns": {"a": {"c": 3}, "x": None}},
            {"a": {"b": 1, "c": 3}, "x": None, "aps": {"content-available": 1}},
        ),
        (
            {"data": {}, "apns": {"aps": {"content-available": 0}}},
            {"aps": {"content-available": 0}},
        ),
        (
            {"notification": None, "data": None, "fcm": {"a": 1}, "web": {}},
            {"aps": {"content-available": 1}},
        ),
    ],
)
def test_apns_bodies(published: dict[str, Any], body: dict[str, Any]) -> None:
    assert msgspec.json.decode(payload.for_apns(published).body) == body


@pytest.mark.parametrize(
    ("apns", "headers"),
    [
        ({"aps": {"alert": "x"}}, {"apns-push-type": "alert", "apns-priority": "10"}),
        ({"aps": {"badge": 0}}, {"apns-push-type": "alert", "apns-priority": "10"}),
        ({}, {"apns-push-type": "background", "apns-priority": "5"}),
        (
            {"apns-headers": {"apns-priority": "1"}},
            {"apns-push-type": "background", "apns-priority": "1"},
        ),
        (
            {"apns-headers": {"Apns-Push-Type": "voip", "APNS-ID": "mine"}},
            {"apns-push-type": "voip", "apns-priority": "10"},
        ),
        (
            {"aps": {"alert": "x"}, "apns-headers": {"apns-push-type": "background"}},
            {"apns-push-type": "background", "apns-priority": "5"},
        ),
        (
            {
                "aps": {"alert": "x"},
                "apns-headers": {"apns-collapse-id": "a b", "apns-topic": "x.voip"},
            },
            {
                "apns-push-type": "alert",
                "apns-priority": "10",
                "apns-collapse-id": "a b",
                "apns-topic": "x.voip",
            },
        ),
    ],
)
def test_apns_headers(apns: dict[str, Any], headers: dict[str, str]) -> None:
    found = payload.for_apns({"apns": apns})
    assert found.headers == headers
    assert b"apns-headers" not in found.body


FCM_FULL = {
    "notification": {"title": "T", "body": "B"},
    "data": {"text": "t", "number": "7", "object": '{"a":[1]}', "none": "null"},
    "android": {
        "collapse_key": "C",
        "ttl": "60s",
        "notification": {"icon": "I", "sound": "S"},
    },
}


@pytest.mark.parametrize(
    ("published", "message"),
    [
        (FULL, FCM_FULL),
        ({"data": {"a": "1"}}, {"data": {"a": "1"}, "android": {"ttl": "60s"}}),
        ({}, {"android": {"ttl": "60s"}}),
        (
            {"fcm": {"priority": "high", "time_to_live": 5, "collapse_key": "k"}},
            {"android": {"priority": "HIGH", "ttl": "5s", "collapse_key": "k"}},
        ),
        (
            {
                "fcm": {
                    "notification": {"title": "T", "color": "#fff", "click_action": "x", "tag": "y"}
                }
            },
            {
                "notification": {"title": "T"},
                "android": {
                    "ttl": "60s",
                    "notification": {"color": "#fff", "click_action": "x", "tag": "y"},
                },
            },
        ),
        (
            {"fcm": {"priority": "high", "android": {"priority": "NORMAL", "ttl": "1.5s"}}},
            {"android": {"priority": "NORMAL", "ttl": "1.5s"}},
        ),
        (
            {"fcm": {"webpush": {"headers": {"TTL": "1"}}, "apns": {"payload": {}}}},
            {
                "webpush": {"headers": {"TTL": "1"}},
                "apns": {"payload": {}},
                "android": {"ttl": "60s"},
            },
        ),
        (
            {"notification": {"title": "T", "body": "B"}, "fcm": {"notification": {"body": "b"}}},
            {"notification": {"title": "T", "body": "b"}, "android": {"ttl": "60s"}},
        ),
        (
            {name: {} for name in ("apns", "web", "data")}
            | {"fcm": {"token": "x", "topic": "x", "condition": "x", "to": "x", "name": "x"}},
            {"android": {"ttl": "60s"}},
        ),
    ],
)
def test_fcm_messages(published: dict[str, Any], message: dict[str, Any]) -> None:
    assert payload.for_fcm(published, 60) == message


@pytest.mark.parametrize(
    ("published", "body"),
    [
        (FULL, {"notification": {"title": "T", "body": "B", "icon": "I"}, "data": FULL["data"]}),
        ({"data": {"a": 1}}, {"data": {"a": 1}}),
        ({}, {}),
        (
            {"notification": {"title": "T"}, "web": {"notification": {"badge": "b"}, "x": 1}},
            {"notification": {"title": "T", "badge": "b"}, "x": 1},
        ),
        ({"apns": {"a": 1}, "fcm": {"b": 1}}, {}),
        ({"web": {"time_to_live": 5, "data": {}}}, {"data": {}}),
    ],
)
def test_web_bodies(published: dict[str, Any], body: dict[str, Any]) -> None:
    assert msgspec.json.decode(payload.for_web(published)) == body


@pytest.mark.parametrize(
    ("published", "expires_ms", "seconds"),
    [
        ({}, 10_000, 9),
        ({}, 10_001, 10),
        ({}, 1_000, 0),
        ({}, 0, 0),
        ({}, 10**13, payload.TTL_S_MAX),
        ({"ttl": 5}, 10_000, 5),
        ({"notification": {"ttl": 5}, "ttl": 7}, 10_000, 5),
        ({"notification": {"ttl": "5"}}, 10_000, 5),
        ({"notification": {"ttl": "5s"}}, 10_000, 5),
        ({"notification": {"ttl": 5.9}}, 10_000, 5),
        ({"notification": {"ttl": 0}}, 10_000, 0),
        ({"notification": {"ttl": 50}}, 10_000, 9),
    ],
)
def test_lifetimes(published: dict[str, Any], expires_ms: int, seconds: int) -> None:
    assert payload.ttl_s(published, expires_ms, 1_000) == seconds


@pytest.mark.parametrize("ttl", [-1, True, "soon", "-5s", None, [], 10**12, float("inf")])
def test_lifetimes_that_are_none(ttl: object) -> None:
    with pytest.raises(NotSent) as caught:
        payload.ttl_s({"ttl": ttl}, 10_000, 0)
    assert caught.value.result.code == BAD_BODY


@pytest.mark.parametrize("part", ["notification", "data", "apns"])
@pytest.mark.parametrize("value", ["text", 7, [], True])
def test_parts_that_are_no_objects(part: str, value: object) -> None:
    with pytest.raises(NotSent) as caught:
        payload.for_apns({part: value})
    result = caught.value.result
    assert (result.verdict, result.code) == (Verdict.REJECTED, BAD_BODY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("apns-push-type", "a\r\nb"),
        ("apns-push-type", ""),
        ("apns-priority", 9),
        ("apns-expiration", "tomorrow"),
        ("apns-collapse-id", "x" * 65),
        ("apns-collapse-id", "\u00fc"),
        ("apns-topic", "a b"),
        ("authorization", "bearer mine"),
        ("host", "x"),
    ],
)
def test_apns_headers_that_cannot_be(name: str, value: object) -> None:
    with pytest.raises(NotSent) as caught:
        payload.for_apns({"apns": {"apns-headers": {name: value}}})
    assert caught.value.result.code == BAD_BODY
    assert "mine" not in str(caught.value)


def _apns(size: int, push_type: str) -> None:
    published = {"apns": {"apns-headers": {"apns-push-type": push_type}, "aps": {"alert": ""}}}
    empty = len(payload.for_apns({**published, "data": {"x": ""}}).body)
    payload.for_apns({**published, "data": {"x": "x" * (size - empty)}})


def _fcm(size: int, _: str) -> None:
    payload.for_fcm({"notification": {"title": ""}, "data": {"x": "x" * (size - 6)}}, 60)


def _web(size: int, _: str) -> None:
    payload.for_web({"data": {"x": "\u00fc" + "x" * (size - len('{"data":{"x":"**"}}'))}})


@pytest.mark.parametrize(
    ("mapped", "push_type", "limit"),
    [
        (_apns, "alert", 4_096),
        (_apns, "voip", 5_120),
        (_fcm, "", 4_096),
        (_web, "", 3_993),
    ],
)
def test_the_largest_there_may_be(mapped: Any, push_type: str, limit: int) -> None:
    mapped(limit, push_type)
    with pytest.raises(NotSent) as caught:
        mapped(limit + 1, push_type)
    assert caught.value.result.code == PAYLOAD_REJECTED


def test_what_was_published_is_not_changed() -> None:
    published = {
        "notification": {"title": "T"},
        "data": {"a": {"b": 1}},
        "apns": {"a": {"b": 2}, "apns-headers": {"apns-id": "x"}},
        "fcm": {"data": {"a": 2}, "time_to_live": 1},
        "web": {"data": {"a": {"c": 2}}},
    }
    before = msgspec.json.encode(published)
    payload.for_apns(published)
    payload.for_fcm(published, 60)
    payload.for_web(published)
    assert msgspec.json.encode(published) == before
