"""Every refusal, route by route: its status, its errcode, and that nothing changed."""

import json
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from broker import BrokerSettings
from storage import LogSettings
from tests.api.matrix.asking import (
    EVERY_ALIAS,
    HOST,
    LIST,
    PUSHKEY,
    READ,
    SET,
    WRITE,
    Asking,
    asking,
    refusal,
)
from tests.api.matrix.bodies import (
    APP_ID,
    GATEWAY,
    channels,
    encrypted,
    encryption,
    pusher,
    without,
)
from tests.api.rest_server import RestServer, rest_server

NOT_JSON, BAD_JSON = (400, "M_NOT_JSON"), (400, "M_BAD_JSON")
MISSING, INVALID = (400, "M_MISSING_PARAM"), (400, "M_INVALID_PARAM")
REQUIRED, FORBIDDEN = "de.required", "de.forbidden"
DELETION = {"kind": None, "app_id": APP_ID}
FIELDS = "kind, app_id, pushkey, app_display_name, device_display_name, lang, data"


class Refused(NamedTuple):
    """`says`: what the text has, for who reads it."""

    route: str
    what: str
    body: Any
    answer: tuple[int, str]
    says: str = ""


def _data(**fields: Any) -> dict[str, Any]:
    return pusher(data={"url": GATEWAY, **fields})


def _url(url: Any) -> dict[str, Any]:
    return pusher(data={"url": url})


def _encryption(**fields: Any) -> dict[str, Any]:
    return encrypted(given=encryption(**fields))


def _without(*names: str) -> dict[str, Any]:
    return encrypted(given=without(encryption(), *names))


BODIES = [
    Refused(route, what, body, answer)
    for route in (SET, WRITE)
    for what, body, answer in (
        ("nothing", b"", NOT_JSON),
        ("no-json", b"{", NOT_JSON),
        ("no-utf8", b'{"kind":"\xff"}', NOT_JSON),
        ("a-form", b"kind=http&app_id=a", NOT_JSON),
        ("too-deep", b'{"a":' * 65 + b"1" + b"}" * 65, NOT_JSON),
        ("a-lone-surrogate", b'{"pushkey":"\\ud800"}', NOT_JSON),
        ("a-list", [], BAD_JSON),
        ("null", b"null", BAD_JSON),
        ("text", "x", BAD_JSON),
    )
]
PUSHERS = [
    Refused(SET, what, body, answer, says)
    for what, body, answer, says in (
        ("an-empty-object", {}, MISSING, f"Missing parameters: {FIELDS}"),
        ("no-lang-nor-data", without(pusher(), "lang", "data"), MISSING, "parameters: lang, data"),
        *((f"no-{name}", without(pusher(), name), MISSING, name) for name in FIELDS.split(", ")),
        ("no-url", pusher(data={}), MISSING, "Config Error"),
        ("deletion-of-nothing", {"kind": None}, MISSING, "Missing parameters: app_id, pushkey"),
        ("deletion-without-pushkey", {"kind": None, "app_id": "a"}, MISSING, "pushkey"),
        ("deletion-of-a-number", {"kind": None, "app_id": 1, "pushkey": "a"}, INVALID, "app_id"),
        ("missing-before-invalid", without(pusher(kind=7), "lang"), MISSING, "lang"),
        ("email", pusher(kind="email", app_id="m.email"), INVALID, "no e-mail"),
        ("email-without-url", pusher(kind="email", data={}), INVALID, "no e-mail"),
        ("kind-unknown", pusher(kind="carrier pigeon"), INVALID, "kind"),
        ("kind-a-number", pusher(kind=1), INVALID, "kind"),
        ("kind-an-object", pusher(kind={}), INVALID, "kind"),
        ("app_id-empty", pusher(app_id=""), INVALID, "app_id"),
        ("app_id-too-long", pusher(app_id="é" * 65), INVALID, "app_id"),
        ("app_id-null", pusher(app_id=None), INVALID, "app_id"),
        ("pushkey-empty", pusher(""), INVALID, "pushkey"),
        ("pushkey-too-long", pusher("é" * 256 + "a"), INVALID, "512 bytes"),
        ("pushkey-a-list", pusher(pushkey=["a"]), INVALID, "pushkey"),
        ("app_display_name-a-number", pusher(app_display_name=1), INVALID, "app_display_name"),
        ("device_display_name-null", pusher(device_display_name=None), INVALID, "device_display"),
        ("device_display_name-too-long", pusher(device_display_name="x" * 257), INVALID, "256"),
        ("lang-a-list", pusher(lang=[]), INVALID, "lang"),
        ("profile_tag-an-object", pusher(profile_tag={}), INVALID, "profile_tag"),
        ("append-text", pusher(append="true"), INVALID, "append"),
        ("append-a-number", pusher(append=1), INVALID, "append"),
        ("data-null", pusher(data=None), INVALID, "data"),
        ("data-text", pusher(data="https://x"), INVALID, "data"),
        ("data-too-large", _data(more="x" * 16_384), INVALID, "16384"),
        ("data-of-large-numbers", _data(more=2**70), INVALID, "data"),
        ("url-null", _url(None), INVALID, "data.url"),
        ("url-empty", _url(""), INVALID, "data.url"),
        ("url-no-url", _url("gateway"), INVALID, "data.url"),
        ("url-http", _url("http://gateway.example.com/_matrix/push/v1/notify"), INVALID, "https"),
        ("url-private", _url("https://10.0.0.1/_matrix/push/v1/notify"), INVALID, "public"),
        ("url-other-path", _url("https://gateway.example.com/notify"), INVALID, "path"),
        ("url-longer-path", _url(f"{GATEWAY}/x"), INVALID, "path"),
        ("url-with-user", _url(GATEWAY.replace("//", "//a:b@")), INVALID, "user"),
        ("url-too-long", _url(f"{GATEWAY}?{'x' * 4_096}"), INVALID, "4096"),
        ("encryption-text", encrypted(given="aes"), INVALID, "encryption"),
        ("encryption-empty", encrypted(given={}), MISSING, "encryption.method, encryption.iss"),
        *(
            (f"encryption-without-{name}", _without(name), MISSING, f"encryption.{name}")
            for name in ("method", "iss", "time_iss_created", "key_identifier")
        ),
        ("method-unknown", _encryption(method="rot13"), INVALID, "aes-hmac-sha256"),
        ("iss-too-short", _encryption(iss="ab" * 31), INVALID, "64 hex"),
        ("iss-no-hex", _encryption(iss="g" * 64), INVALID, "64 hex"),
        ("iss-a-number", _encryption(iss=1), INVALID, "iss"),
        ("iss-twice", _encryption(initial_shared_secret="ab" * 32), INVALID, "must not differ"),
        ("month-thirteenth", _encryption(time_iss_created="2026-13"), INVALID, "yyyy-MM"),
        ("month-a-day", _encryption(time_iss_created="2026-10-01"), INVALID, "yyyy-MM"),
        ("month-long-ago", _encryption(time_iss_created="1999-01"), INVALID, ""),
        ("month-far-ahead", _encryption(time_iss_created="2999-01"), INVALID, ""),
        ("key_identifier-empty", _encryption(key_identifier=""), INVALID, "key_identifier"),
        ("key_identifier-long", _encryption(key_identifier="x" * 257), INVALID, "key_identifier"),
        ("encryption-required", pusher(app_id=REQUIRED), MISSING, "encryption"),
        ("encryption-forbidden", encrypted(app_id=FORBIDDEN), INVALID, "encryption"),
        ("encryption-to-a-plain-gateway", pusher(encryption=encryption()), INVALID, "data.url"),
    )
]
STATUSES = [
    Refused(WRITE, what, body, answer, says)
    for what, body, answer, says in (
        ("no-channels", {}, MISSING, "Missing parameters: channels"),
        ("channels-null", {"channels": None}, INVALID, "channels"),
        ("channels-an-object", {"channels": {}}, INVALID, "channels"),
        ("a-channel-that-is-text", {"channels": ["task"]}, INVALID, "channels"),
        ("no-id", {"channels": [{"status": "enabled"}]}, MISSING, "channels[0].id"),
        ("no-status", {"channels": [{"id": "task"}]}, MISSING, "channels[0].status"),
        ("id-a-number", {"channels": [{"id": 1, "status": "enabled"}]}, INVALID, "id"),
        ("status-a-flag", {"channels": [{"id": "task", "status": True}]}, INVALID, "status"),
        ("status-unknown", channels(task="on"), INVALID, "enabled, disabled, not_set"),
        ("channel-unknown", channels(nothing="enabled"), INVALID, "no channel 'nothing'"),
        ("one-of-two-unknown", channels(task="enabled", nothing="enabled"), INVALID, "nothing"),
        ("twice", {"channels": channels(task="enabled")["channels"] * 2}, INVALID, "only once"),
    )
]
CASES = [*BODIES, *PUSHERS, *STATUSES]


async def test_what_makes_no_sense(server: RestServer, ann: Asking) -> None:
    set_encryption = server.broker.matrix.set_encryption
    await set_encryption(server.app, "required", REQUIRED)
    await set_encryption(server.app, "forbidden", FORBIDDEN)
    await ann.fine(SET, pusher())
    before = server.broker.log.position
    for case in CASES:
        reply = await ann(case.route, case.body)
        assert refusal(reply) == case.answer, case.what
        assert case.says in reply.json()["error"], case.what
        assert server.broker.log.position == before, case.what
    assert await ann.pushers() == [pusher()]


async def test_no_such_pusher(ann: Asking, bob: Asking) -> None:
    await ann.fine(SET, pusher())
    await bob.fine(SET, pusher("unknown"))
    for route, pushkey in product((READ, WRITE), ("unknown", PUSHKEY[:-1], "/", "v1")):
        path = route.replace("/channels", "/push/v1/channels")
        reply = await ann(path, channels(task="enabled"), pushkey=pushkey)
        assert refusal(reply) == (404, "M_NOT_FOUND"), pushkey
    assert (await bob.statuses("unknown"))["task"] == "not_set"


@pytest.mark.parametrize("route", [READ, WRITE])
async def test_a_pushkey_that_is_no_text(ann: Asking, route: str) -> None:
    """What no pusher can have, for it is no UTF-8."""
    path = route.replace("{pushkey}", "%FF%FE")
    assert refusal(await ann(path, channels(task="enabled"))) == (404, "M_NOT_FOUND")


async def test_a_deleted_pusher_has_no_channels(ann: Asking) -> None:
    await ann.fine(SET, pusher())
    await ann.fine(WRITE, channels(task="enabled"))
    await ann.fine(SET, {**DELETION, "pushkey": PUSHKEY})
    assert refusal(await ann(READ)) == (404, "M_NOT_FOUND")
    assert refusal(await ann(WRITE, channels(task="enabled"))) == (404, "M_NOT_FOUND")
    await ann.fine(SET, pusher())
    assert (await ann.statuses())["task"] == "not_set"


NOTHING = (
    "/",
    "/_matrix/client",
    "/_matrix/client/v3/sync",
    "/_matrix/client/v3/pushers/set/more",
    "/_matrix/client/v3/channels",
    "/pushers/v2",
    "/push/v1/pushers/nothing",
    "/history/7",
    "/nothing",
)


async def test_nothing_at_a_path(ann: Asking) -> None:
    for path, method in product(NOTHING, ("GET", "POST", "DELETE")):
        assert refusal(await ann(f"{method} {path}")) == (404, "M_UNRECOGNIZED"), path


async def test_other_methods(ann: Asking) -> None:
    for path in {alias.split(" ")[1] for alias in EVERY_ALIAS}:
        served = {alias.split(" ")[0] for alias in EVERY_ALIAS if alias.split(" ")[1] == path}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - served:
            reply = await ann(f"{method} {path}", pusher())
            assert refusal(reply) == (405, "M_UNRECOGNIZED")
            allowed = set(reply.headers["allow"].split(", "))
            assert allowed == {*served, "OPTIONS", *({"HEAD"} if "GET" in served else ())}


async def test_credentials_come_first_and_what_is_not_there_last(ann: Asking) -> None:
    nobody = Asking(ann.client)
    assert refusal(await nobody(SET, b"{")) == (401, "M_MISSING_TOKEN")
    assert refusal(await nobody(WRITE, b"{", pushkey="unknown")) == (401, "M_MISSING_TOKEN")
    assert refusal(await ann(WRITE, b"{", pushkey="unknown")) == NOT_JSON
    assert refusal(await ann(WRITE, channels(task="on"), pushkey="unknown")) == INVALID


async def test_a_body_that_is_too_large(ann: Asking, server: RestServer) -> None:
    """The listener says so before any API is asked, in Ably's words."""
    reply = await ann(SET, json.dumps(_data(more="x" * 3_000_000)).encode())
    assert reply.status_code == 413


async def test_a_log_that_takes_no_more(tmp_path: Path, may_log: set[str]) -> None:
    """What writes is refused as our failure, what reads goes on."""
    may_log |= {"tidelog.http", "tidelog.broker"}
    async with rest_server(tmp_path / "data", matrix_hosts=(HOST["Host"],)) as server:
        await server.broker.matrix.set_channels(server.app, {"task": "disabled"})
        ann = asking(server, "ann", await server.connect({}))
        await ann.fine(SET, {**pusher(), "data": {"url": GATEWAY}})
        token = ann.token
    settings = BrokerSettings(log=LogSettings(max_bytes=1))
    async with rest_server(
        tmp_path / "data", settings=settings, matrix_hosts=(HOST["Host"],)
    ) as server:
        ann = Asking(await server.connect({}), token)
        assert refusal(await ann(SET, pusher("other"))) == (503, "M_UNKNOWN")
        assert refusal(await ann(SET, {**DELETION, "pushkey": PUSHKEY})) == (503, "M_UNKNOWN")
        assert refusal(await ann(WRITE, channels(task="enabled"))) == (503, "M_UNKNOWN")
        assert [one["pushkey"] for one in await ann.pushers()] == [PUSHKEY]
        assert await ann.statuses() == {"task": "not_set"}


async def test_a_bug_of_ours(
    server: RestServer,
    ann: Asking,
    may_log: set[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log names routes, not pushkeys."""
    may_log.add("tidelog.http")
    monkeypatch.setattr(server.broker.push.lists, "devices", None)
    for route in (LIST, READ):
        reply = await ann(route)
        assert refusal(reply) == (500, "M_UNKNOWN")
        assert reply.json()["error"] == "internal error"
    said = [record.getMessage() for record in caplog.records if record.name == "tidelog.http"]
    assert said == [
        "unexpected error in GET /pushers",
        "unexpected error in GET /channels/<unversioned:pushkey>",
    ]
