"""The programs of docs/examples run as they stand, each in a process of its own.

FastAPI is no dependency of ours: without it that example is skipped with a message, and fails
instead when TIDELOG_REQUIRE_SDK_TESTS=1.
"""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.documents import ROOT

EXAMPLES = ROOT / "docs" / "examples"
STUCK_S = 60
REQUIRED = "TIDELOG_REQUIRE_SDK_TESTS"
_ADDRESS = re.compile(r"http://[\d.]+:\d+")


def start(name: str, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, EXAMPLES / f"{name}.py", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running(name: str, path: Path, *, said_on: str = "stderr") -> Iterator[str]:
    """An example that serves; the line with its address. It ends well when it is told to."""
    with start(name, path) as process:
        try:
            lines = iter(getattr(process, said_on))
            yield next(line for line in lines if _ADDRESS.search(line))
            process.send_signal(signal.SIGTERM)
            assert process.wait(STUCK_S) == 0, process.communicate()
        finally:
            process.kill()


def client(line: str, **options: Any) -> httpx.Client:
    address = _ADDRESS.search(line)
    assert address is not None, line
    return httpx.Client(base_url=address[0], trust_env=False, timeout=STUCK_S, **options)


def test_every_example_is_tested() -> None:
    tested = {"script", "trio_service", "quart_service", "fastapi_service"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested


def test_a_script_publishes_and_shows(tmp_path: Path) -> None:
    path = tmp_path / "data"
    for text in ("hello", "world"):
        assert start("script", path, "c", text).communicate(timeout=STUCK_S) == ("", "")
    assert start("script", path, "c").communicate(timeout=STUCK_S) == ("hello\nworld\n", "")
    refused = start("script", path, "", "text")
    _, errors = refused.communicate(timeout=STUCK_S)
    assert (refused.returncode, errors.endswith("(40010)\n")) == (1, True), errors


def test_a_trio_service_gives_one_receipt_for_an_order_over_restarts(tmp_path: Path) -> None:
    for _ in range(2):
        with running("trio_service", tmp_path / "data", said_on="stdout") as line:
            key = tuple(line.split()[1].split(":"))
            with client(line, auth=key) as http:
                order = {"id": "7", "name": "created", "data": "tea"}
                assert http.post("/channels/orders/messages", json=order).status_code == 201
                receipts: list[Any] = []
                while not receipts:
                    receipts = http.get("/channels/receipts/messages").json()
    assert [receipt["data"] for receipt in receipts] == ["tea"]


def test_a_quart_app_keeps_what_it_was_given(tmp_path: Path) -> None:
    for _ in range(2):
        with running("quart_service", tmp_path / "data") as line, client(line) as http:
            assert http.put("/orders/7", json={"tea": 1}).status_code == 201
            assert http.get("/orders").json() == ['{"tea":1}']
            refused = http.put("/orders/8", json="x" * 100_000)
            assert (refused.status_code, refused.json()["error"]["code"]) == (413, 40009)


def test_a_fastapi_app_keeps_what_it_was_given_and_tells_it(tmp_path: Path) -> None:
    if importlib.util.find_spec("fastapi") is None:
        assert not os.environ.get(REQUIRED), "fastapi is not installed"
        pytest.skip("fastapi is not installed: pip install '.[test]'")
    for _ in range(2):
        with running("fastapi_service", tmp_path / "data") as line, client(line) as http:
            assert http.put("/orders/7", json={"tea": 1}).status_code == 201
            assert http.get("/orders").json() == ['{"tea":1}']
            refused = http.get("/orders?limit=0")
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, 40003)
            with http.stream("GET", "/orders/live") as reply:
                assert next(reply.iter_lines()) == 'data: {"tea":1}'
