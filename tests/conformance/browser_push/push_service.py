"""A push service on loopback: what Mozilla's is to Firefox, and strict about what it is sent.

A browser speaks JSON to it over a WebSocket: it says hello, registers subscriptions, is notified
and acknowledges. Application servers POST to a subscription's URL (RFC 8030); each request is held
to `checks`, and what is refused is kept for the test to see. Invariant: at most one browser is
connected, and what it is sent is what was POSTed, but for a bit that a test asked to have flipped.
"""

import contextlib
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.conformance.browser_push import checks
from tests.conformance.browser_push.checks import Refusal

WITHIN_S = 20
DELIVERED, UNDECRYPTABLE = 100, 101  # as Firefox acknowledges
HOST = "127.0.0.1"
PATH = "/push/"


@dataclass
class Subscription:
    """key: what it was made with, base64url. sent: the requests for it that were accepted; acks:
    what the browser said of each."""

    key: str
    is_gone: bool = False
    sent: list[dict[str, str]] = field(default_factory=list)
    acks: list[int] = field(default_factory=list)


class PushService:
    def __init__(self) -> None:
        self.origin = ""
        self.websocket = ""
        self.refusals: list[Refusal] = []
        self._subscriptions: dict[str, Subscription] = {}
        self._browser: ServerConnection | None = None
        self._flips = False
        self._is_down = False
        self._news = threading.Condition()

    def of(self, endpoint: str) -> Subscription:
        return self._subscriptions[endpoint.removeprefix(self.origin + PATH)]

    def flip_next(self) -> None:
        """One bit of the next notification's ciphertext."""
        self._flips = True

    @contextmanager
    def down(self) -> Iterator[None]:
        """Meanwhile it refuses everybody, and tells the browser nothing."""
        self._is_down = True
        try:
            yield
        finally:
            self._is_down = False

    def wait(self, condition: Callable[[], object]) -> None:
        """Until what happened here fulfils it."""
        until = time.monotonic() + WITHIN_S
        with self._news:
            while not condition():
                left_s = until - time.monotonic()
                assert self._news.wait(left_s), (self._subscriptions, self.refusals)

    def talk(self, browser: ServerConnection) -> None:
        self._browser = browser
        with contextlib.suppress(ConnectionClosed):  # Firefox ends without a farewell
            for text in browser:
                with self._news:
                    answer = self._heard(json.loads(text))
                    self._news.notify_all()
                if answer is not None:
                    browser.send(json.dumps(answer))

    def _heard(self, said: dict[str, Any]) -> dict[str, Any] | None:
        kind = said.get("messageType")
        if kind is None:  # a ping
            return {}
        if kind == "hello":
            more = {"uaid": said.get("uaid") or uuid4().hex, "use_webpush": True}
            return {"messageType": kind, "status": 200, **more}
        if kind == "ack":
            for update in said["updates"]:
                self._subscriptions[update["channelID"]].acks.append(update["code"])
            return None
        if kind in ("register", "unregister"):
            return {"messageType": kind, "status": 200, **self._changed(kind, said)}
        return None

    def _changed(self, kind: str, said: dict[str, Any]) -> dict[str, Any]:
        channel = said["channelID"]
        if kind == "unregister":
            self._subscriptions[channel].is_gone = True
            return {"channelID": channel}
        self._subscriptions[channel] = Subscription(said["key"].rstrip("="))
        return {"channelID": channel, "pushEndpoint": self.origin + PATH + channel}

    def posted(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Its status."""
        channel = path.removeprefix(PATH)
        with self._news:
            subscription = self._subscriptions.get(channel)
            refused = self._refusal(subscription, headers, body)
            if refused:
                self.refusals.append(refused)
            elif subscription:
                subscription.sent.append(headers)  # before anybody can see what comes of it
                self._notify(channel, headers, body)
            self._news.notify_all()
        return refused.status if refused else 201

    def _refusal(
        self, to: Subscription | None, headers: dict[str, str], body: bytes
    ) -> Refusal | None:
        if self._is_down:
            return Refusal(503, "down")
        if to is None:
            return Refusal(404, "no such subscription")
        if to.is_gone:
            return Refusal(410, "the subscription is gone")
        return checks.refusal(headers, body, origin=self.origin, key=to.key, now_s=time.time())

    def _notify(self, channel: str, headers: dict[str, str], body: bytes) -> None:
        if self._flips:
            self._flips = False
            head, flipped = body[: checks.HEADER_BYTES], body[checks.HEADER_BYTES] ^ 1
            body = head + bytes([flipped]) + body[len(head) + 1 :]
        assert self._browser
        told = {
            "messageType": "notification",
            "channelID": channel,
            "version": uuid4().hex,
            "ttl": int(headers["ttl"]),
            "data": urlsafe_b64encode(body).rstrip(b"=").decode(),
            "headers": {"encoding": headers["content-encoding"]},
        }
        self._browser.send(json.dumps(told))


def _handler(service: PushService) -> type[BaseHTTPRequestHandler]:
    class Endpoint(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(service.posted(self.path, headers, body))
            self.send_header("Location", f"{service.origin}/message/{uuid4()}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """The service keeps what a test has to know."""

    return Endpoint


@contextmanager
def running() -> Iterator[PushService]:
    service = PushService()
    with (
        ThreadingHTTPServer((HOST, 0), _handler(service)) as http,
        serve(service.talk, HOST, 0, ping_interval=None) as websocket,  # a ping is random
    ):
        service.origin = f"http://{HOST}:{http.server_port}"
        service.websocket = f"ws://{HOST}:{websocket.socket.getsockname()[1]}/"
        threads = [threading.Thread(target=server.serve_forever) for server in (http, websocket)]
        for thread in threads:
            thread.start()
        try:
            yield service
        finally:
            http.shutdown()
            websocket.shutdown()
            for thread in threads:
                thread.join()
