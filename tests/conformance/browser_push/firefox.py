"""A real Firefox, headless, asked over Marionette: length-prefixed JSON on a TCP connection.

It starts with a new profile whose push service is the given one. Invariant: it ends with the run,
with all its processes, and leaves nothing behind but what it said. Of Marionette it speaks the few
commands that these tests need; the client that Mozilla publishes brings a dozen packages with it.
"""

import contextlib
import itertools
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

STARTS_WITHIN_S = 60
WITHIN_S = 20  # less than a circuit of the broker stays open
PROGRAM = "firefox-esr"
LISTENING = re.compile(r"Marionette\tINFO\tListening on port (\d+)")
NEEDED: dict[str, bool | int | str] = {
    "dom.push.connection.enabled": True,
    "dom.push.testing.allowInsecureServerURL": True,  # ws:, not wss:
    "permissions.default.desktop-notification": 1,  # allowed, without asking
    "alerts.useSystemBackend": False,  # there is no desktop that could show anything
    "dom.serviceWorkers.testing.enabled": True,
    "remote.prefs.recommended": False,  # they would disable push
    "marionette.port": 0,  # whichever is free
    "browser.dom.window.dump.enabled": True,  # or it would not say which
}
# It is to talk to nobody but us.
QUIET: dict[str, bool | int | str] = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.region.network.url": "",
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.systemAddon.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.server": "data:,",
}
# It runs in the page's window, and tells what the page's own function gives.
CALL = """
const [name, given, done] = arguments;
asked(name, given).then(done);
"""


class PageError(Exception):
    """What the page's own code threw; `value` is what it says of it."""

    def __init__(self, value: Any) -> None:
        super().__init__(str(value))
        self.value = value


def missing() -> str | None:
    """What these tests lack on this machine."""
    if shutil.which(PROGRAM) is None:
        return f"{PROGRAM} is not installed (Debian: apt-get install {PROGRAM})"
    return None


class Firefox:
    def __init__(self, directory: Path, push_service: str) -> None:
        self._log = directory / "firefox.log"
        self._profile = profile = directory / "profile"
        profile.mkdir()
        _write_preferences(profile, NEEDED | QUIET | {"dom.push.serverURL": push_service})
        home = {"HOME": str(directory), "MOZ_CRASHREPORTER_DISABLE": "1"}
        self._process = subprocess.Popen(
            [PROGRAM, "--headless", "--no-remote", "--marionette", "--profile", str(profile)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **home},
            start_new_session=True,  # so that all its processes can be ended together
        )
        self._port: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self._marionette = self._connected()
        except BaseException:
            self._kill()
            raise

    def end(self) -> None:
        try:
            self._marionette.ask("Marionette:Quit", flags=["eForceQuit"])
            self._process.wait(WITHIN_S)
        finally:
            self._marionette.close()
            self._kill()

    def go(self, url: str) -> None:
        """Load a document, and leave the one that is shown."""
        self._marionette.ask("WebDriver:Navigate", url=url)

    def call(self, function: str, *arguments: Any) -> Any:
        """What that function of the page's gives, or its promise becomes."""
        told = self._marionette.ask(
            "WebDriver:ExecuteAsyncScript", script=CALL, args=[function, list(arguments)]
        )
        answer = told["value"]
        if "thrown" in answer:
            raise PageError(answer["thrown"])
        return answer["value"]

    def _connected(self) -> "_Marionette":
        try:
            port = self._port.get(timeout=STARTS_WITHIN_S)
        except queue.Empty:
            raise AssertionError(f"it does not listen: {self._log.read_text()}") from None
        marionette = _Marionette(port)
        marionette.ask("WebDriver:NewSession")
        marionette.ask("WebDriver:SetTimeouts", script=WITHIN_S * 1_000, pageLoad=WITHIN_S * 1_000)
        return marionette

    def _read(self) -> None:
        """To its end, or Firefox would wait for us."""
        assert self._process.stdout
        with self._log.open("wb") as log:
            for line in self._process.stdout:
                log.write(line)
                log.flush()
                if found := LISTENING.search(line.decode(errors="replace")):
                    self._port.put(int(found[1]))

    def _kill(self) -> None:
        with self._process as process:
            with contextlib.suppress(ProcessLookupError):  # all of them ended by themselves
                os.killpg(process.pid, signal.SIGKILL)
            self._reader.join(WITHIN_S)
        shutil.rmtree(self._profile)  # which is large


class _Marionette:
    """One command at a time."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), WITHIN_S)
        self._socket.settimeout(2 * WITHIN_S)  # Firefox gives up before
        self._stream = self._socket.makefile("rb")
        self._ids = itertools.count(1)
        assert self._received()["marionetteProtocol"] == 3

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def ask(self, command: str, **parameters: Any) -> Any:
        number = next(self._ids)
        asked = json.dumps([0, number, command, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(asked), asked))
        kind, answered, error, result = self._received()
        assert (kind, answered) == (1, number)
        assert error is None, (command, error)
        return result

    def _received(self) -> Any:
        length = b""
        while (byte := self._stream.read(1)) != b":":
            assert byte, "Firefox closed the connection"
            length += byte
        return json.loads(self._stream.read(int(length)))


def _write_preferences(profile: Path, preferences: dict[str, bool | int | str]) -> None:
    lines = [
        f"user_pref({json.dumps(name)}, {json.dumps(value)});"
        for name, value in preferences.items()
    ]
    (profile / "user.js").write_text("\n".join(lines))
