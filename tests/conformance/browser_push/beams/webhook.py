"""The application's server, where the broker's webhooks arrive: it checks who sends them."""

import hashlib
import hmac
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WITHIN_S = 20
SECRET = "a-webhooks-secret"


class Webhook:
    def __init__(self, url: str) -> None:
        self.url = url
        self._told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def next_of(self, publish_id: str) -> dict[str, Any]:
        """The next that it is told of that notification; raises queue.Empty."""
        while (told := self._told.get(timeout=WITHIN_S))["payload"]["publish_id"] != publish_id:
            pass
        return told

    def told(self, headers: Any, body: bytes) -> int:
        """Its status."""
        expected = hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()
        if not hmac.compare_digest(headers.get("Webhook-Signature", ""), expected):
            return 401
        self._told.put(json.loads(body))
        return 200


@contextmanager
def listening() -> Iterator[Webhook]:
    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(webhook.told(self.headers, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """What it is told is kept."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        webhook = Webhook(f"http://127.0.0.1:{server.server_port}/beams")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield webhook
        finally:
            server.shutdown()
            thread.join()
