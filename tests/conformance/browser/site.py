"""The page's own web server: its origin is never that of the broker."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

REQUIRED = "TIDELOG_REQUIRE_SDK_TESTS"
HOME = Path(__file__).parent
Content = Path | Callable[[str], bytes]  # a file, or what is made of the query
Site = Mapping[str, tuple[str, Content]]
ABLY = HOME.parent / "node" / "node_modules" / "ably" / "build" / "ably.min.js"
FILES: Site = {
    "/": ("text/html; charset=utf-8", HOME / "page.html"),
    "/page.js": ("text/javascript; charset=utf-8", HOME / "page.js"),
    "/ably.js": ("text/javascript; charset=utf-8", ABLY),
}


def skip_without(lack: str) -> None:
    """Skip for what a browser test lacks, ably-js included; fail where it must not."""
    if not lack and not ABLY.exists():
        lack = f"ably-js is not installed: npm ci --prefix {ABLY.parents[3]}"
    if lack and os.environ.get(REQUIRED):
        pytest.fail(f"{lack}, and {REQUIRED} is set")
    if lack:
        pytest.skip(lack)


class _Files(BaseHTTPRequestHandler):
    files: Site

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        kind, content = self.files.get(asked.path, ("text/plain", None))
        if isinstance(content, Path):
            body = content.read_bytes()
        else:
            body = content(asked.query) if content else b""
        self.send_response(200 if content else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """What it served says nothing about the broker."""


@contextmanager
def serving_the_page(files: Site = FILES) -> Iterator[str]:
    """Its address. `files`: their types and their content, by path."""
    handler = type("Files", (_Files,), {"files": files})
    with ThreadingHTTPServer(("localhost", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
