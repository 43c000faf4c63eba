"""Webhooks: what a receiver verifies, what each answer means."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.push.transports import Transports
from broker.push.transport import NO_RECIPIENT, SENT, Result, Verdict
from tests.api.push import rig
from tests.api.push.http_gateway import Act, Answer, Gateway, Reply, Request, serving
from tests.api.push.rig import HELLO, HOUR_MS, ID, NOW_MS, Now, outgoing
from tests.api.push.scripted import Script

SECRET = "the webhook's secret"


def is_genuine(request: Request, secret: str, now_s: int) -> bool:
    """What the documentation tells receivers to do."""
    parts = dict(part.split("=") for part in request.headers["tidelog-signature"].split(","))
    signed = parts["t"].encode() + b"." + request.body
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts["v1"]) and abs(now_s - int(parts["t"])) < 300


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def hook(script: Script) -> AsyncIterator[Gateway]:
    async def handle(request: Request) -> Answer:
        return script.next() or Reply(204)

    async with serving(handle) as gateway:
        yield gateway


@pytest.fixture
async def transports(hook: Gateway, tmp_path: Path, now: Now) -> AsyncIterator[Transports]:
    async with rig.built({"allow_loopback_targets": True}, tmp_path, now) as transports:
        yield transports


async def send(transports: Transports, hook: Gateway, **more: Any) -> Result:
    recipient = {"transportType": "webhook", "url": f"{hook.url}/hook", "secret": SECRET, **more}
    return await transports.by_type["webhook"].send(outgoing(recipient))


async def test_a_notification_arrives(hook: Gateway, transports: Transports) -> None:
    assert await send(transports, hook) == SENT
    (request,) = hook.requests
    assert (request.path, request.headers["tidelog-id"]) == ("/hook", ID)
    assert msgspec.json.decode(request.body) == {
        "id": ID,
        "app": "app",
        "payload": HELLO,
        "expires": NOW_MS + HOUR_MS,
    }


async def test_the_signature_holds_and_nothing_else_does(
    hook: Gateway, transports: Transports
) -> None:
    await send(transports, hook)
    (request,) = hook.requests
    now_s = NOW_MS // 1_000
    assert is_genuine(request, SECRET, now_s)
    assert not is_genuine(request, "another secret", now_s)
    assert not is_genuine(request, SECRET, now_s + 301)
    tampered = msgspec.json.encode({**msgspec.json.decode(request.body), "app": "other"})
    assert not is_genuine(
        Request(request.method, request.path, request.headers, tampered, "1.1"), SECRET, now_s
    )


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Reply(200), Verdict.SENT),
        (Reply(299, b"anything"), Verdict.SENT),
        (Reply(302, headers={"location": "http://169.254.169.254/"}), Verdict.REJECTED),
        (Reply(400), Verdict.REJECTED),
        (Reply(401), Verdict.TRANSIENT),
        (Reply(403), Verdict.TRANSIENT),
        (Reply(404), Verdict.TRANSIENT),
        (Reply(410), Verdict.DEAD),
        (Reply(429), Verdict.TRANSIENT),
        (Reply(503), Verdict.TRANSIENT),
        (Act.HANG_UP, Verdict.TRANSIENT),
        (Act.NONSENSE, Verdict.TRANSIENT),
    ],
)
async def test_what_an_answer_means(
    hook: Gateway, transports: Transports, script: Script, answer: Answer, verdict: Verdict
) -> None:
    script.then(answer)
    result = await send(transports, hook)
    assert result.verdict is verdict
    assert SECRET not in result.message
    assert await send(transports, hook) == SENT
    assert len(hook.requests) == 2  # a redirect is not followed


@pytest.mark.parametrize("missing", ["url", "secret"])
async def test_an_address_lacks_a_part(hook: Gateway, transports: Transports, missing: str) -> None:
    result = await send(transports, hook, **{missing: None})
    assert (result.verdict, result.code) == (Verdict.DEAD, NO_RECIPIENT)
    assert hook.requests == []


async def test_loopback_is_refused_unless_it_is_allowed(
    hook: Gateway, tmp_path: Path, now: Now
) -> None:
    async with rig.built({}, tmp_path, now) as guarded:
        assert (await send(guarded, hook)).verdict is Verdict.DEAD
    assert hook.connections == 0


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://hook.example:8443/a", "hook.example"),
        ("https://b\u00fccher.example/", "xn--bcher-kva.example"),
        ("no url", "nowhere"),
        ("https://", "nowhere"),
        (None, "nowhere"),
    ],
)
async def test_its_endpoint(transports: Transports, url: str | None, endpoint: str) -> None:
    assert transports.by_type["webhook"].endpoint(outgoing({"url": url})) == endpoint
