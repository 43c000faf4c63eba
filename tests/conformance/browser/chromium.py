"""A real Chromium, headless, asked over the DevTools protocol on a pipe of its own.

It starts with a new profile that trusts the given authorities and nothing else that a user would
not: a certificate that it would warn about fails the tests. Invariant: it ends with the run, and
leaves nothing behind.
"""

import itertools
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WITHIN_S = 20
FLAGS = (
    "--headless",
    "--no-sandbox",  # it runs our own page only, and as root it has no other way
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
# The pipe is on file descriptors 3 and 4.
ON_A_PIPE = ("sh", "-c", 'exec "$0" "$@" 3<&0 4>&1 </dev/null >&2')

Event = dict[str, Any]


class PageError(Exception):
    """What the page's own code threw; `value` is what it says of it."""

    def __init__(self, value: Any) -> None:
        super().__init__(str(value))
        self.value = value


def missing() -> str | None:
    """What these tests lack on this machine."""
    for program, package in (("chromium", "chromium"), ("certutil", "libnss3-tools")):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian: apt-get install {package})"
    return None


class Chromium:
    def __init__(self, directory: Path, authorities: list[Path]) -> None:
        self._log = directory / "chromium.log"
        _trust(directory, authorities)
        with self._log.open("wb") as errors:
            self._process = subprocess.Popen(
                [*ON_A_PIPE, "chromium", *FLAGS, f"--user-data-dir={directory / 'profile'}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "HOME": str(directory)},
            )
        self._ids = itertools.count(1)
        self._answers: dict[int, queue.SimpleQueue[Event]] = {}
        self._pages: dict[str, Page] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def end(self) -> None:
        with self._process as process:
            try:
                self.ask("Browser.close")
                process.wait(WITHIN_S)
            finally:
                process.kill()
        self._reader.join(WITHIN_S)

    def open(self, url: str) -> "Page":
        """In a context of its own: it shares no connection, cache or storage with other pages."""
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        asked = {"url": "about:blank", "browserContextId": context}
        target = self.ask("Target.createTarget", **asked)["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._pages[session] = page = Page(self, session, context)
        page.ask("Network.enable", maxPostDataSize=0)  # bodies would come as events, slowly
        page.ask("Page.enable")
        page.go(url)
        return page

    def ask(self, method: str, *, session: str | None = None, **parameters: Any) -> Any:
        number = next(self._ids)
        answers = self._answers[number] = queue.SimpleQueue()
        command = {"id": number, "method": method, "params": parameters}
        assert self._process.stdin
        self._process.stdin.write(
            json.dumps(command | ({"sessionId": session} if session else {})).encode() + b"\0"
        )
        self._process.stdin.flush()
        try:
            answer = answers.get(timeout=WITHIN_S)
        except queue.Empty:
            raise AssertionError(f"no answer: {command}; {self._log.read_text()}") from None
        assert "error" not in answer, (command, answer["error"])
        return answer["result"]

    def _read(self) -> None:
        assert self._process.stdout
        parts: list[bytes] = []
        while got := os.read(self._process.stdout.fileno(), 1 << 16):
            *ends, begin = got.split(b"\0")
            for end in ends:
                self._dispatch(json.loads(b"".join([*parts, end])))
                parts = []
            parts.append(begin)

    def _dispatch(self, record: Event) -> None:
        if "id" in record:
            self._answers.pop(record["id"]).put(record)
        elif page := self._pages.get(record.get("sessionId", "")):
            page.happened(record)


class Page:
    """A tab, and all that DevTools said of it since it was opened."""

    def __init__(self, browser: Chromium, session: str, context: str) -> None:
        self._browser = browser
        self._session = session
        self._context = context
        self._events: list[Event] = []
        self._news = threading.Condition()

    def close(self) -> None:
        self._browser.ask("Target.disposeBrowserContext", browserContextId=self._context)

    def go(self, url: str) -> None:
        """Load a document, and leave the one that is shown."""
        begin = len(self._events)
        assert not self.ask("Page.navigate", url=url).get("errorText")
        self.wait(lambda: any(self.parameters("Page.loadEventFired", begin)))

    def call(self, function: str, *arguments: Any) -> Any:
        """What that function of the page's gives, or its promise becomes."""
        asked = f"asked({function}, {', '.join(map(json.dumps, arguments))})"
        answer = self.ask(
            "Runtime.evaluate", expression=asked, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        value = answer["result"]["value"]
        if "thrown" in value:
            raise PageError(value["thrown"])
        return value.get("value")

    def cut_off(self, is_offline: bool) -> None:
        """From every network, as when a cable is pulled and put back."""
        unlimited = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.ask("Network.emulateNetworkConditions", offline=is_offline, **unlimited)

    def ask(self, method: str, **parameters: Any) -> Any:
        return self._browser.ask(method, session=self._session, **parameters)

    def parameters(self, method: str, begin: int = 0) -> list[Any]:
        """Of all such events, from the one of that number on."""
        return [event["params"] for event in self._events[begin:] if event["method"] == method]

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until the events fulfil it."""
        until = time.monotonic() + WITHIN_S
        with self._news:
            while not condition():
                assert self._news.wait(until - time.monotonic()), self._events

    def happened(self, event: Event) -> None:
        with self._news:
            self._events.append(event)
            self._news.notify_all()


def _trust(home: Path, authorities: list[Path]) -> None:
    """As a user of Linux would have a browser trust an authority."""
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    certutil = ["certutil", "-d", f"sql:{store}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True)
    for number, authority in enumerate(authorities):
        added = ["-A", "-t", "C,,", "-n", f"authority {number}", "-i", str(authority)]
        subprocess.run([*certutil, *added], check=True)
