"""Log lines are JSON, carry the request's id, and never a secret."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.request_id import request_id
from api.structured_logging import TEXT_CHARS_MAX, ScrubbedStream, configure, scrub
from tests.api.command_line import environment

SECRET = "s3cr-3t_of40chars"
logger = logging.getLogger("tidelog.test")


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure("info")
    yield
    logging.captureWarnings(False)
    root.handlers[:] = before
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    token = request_id.set("r-1")
    logger.warning("two\nlines of %s", "text")
    request_id.reset(token)
    (line,) = lines(capsys)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "tidelog.test",
        "message": "two\nlines of text",
        "request_id": "r-1",
    }


def test_no_id_outside_of_a_request(capsys: pytest.CaptureFixture[str]) -> None:
    logger.info("x")
    assert "request_id" not in lines(capsys)[0]


def test_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure("error")
    logger.warning("x")
    assert lines(capsys) == []


@pytest.mark.parametrize(
    "text",
    [
        f"app-1.key_1:{SECRET}",
        f"GET /time?key=app.key:{SECRET}&limit=1",
        f"GET /time?limit=1&key=app.key%3A{SECRET}",
        f"GET /?access_token={SECRET}",
        f"GET /?accessToken={SECRET}",
        f"Authorization: Basic {SECRET}",
        f"authorization: Token {SECRET}",
        f"{{'Authorization': 'Bearer {SECRET}'}}",
        f"[(b'host', b'x'), (b'authorization', b'Bearer {SECRET}')]",
        f"sent Bearer {SECRET}==",
        f'{{"keySecret": "{SECRET}"}}',
        f"{{'secret': b'{SECRET}'}}",
        f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{SECRET}",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
        f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}",
    ],
)
def test_shapes_of_secrets(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    logger.error("before %s after", text)
    try:
        raise ValueError(text)
    except ValueError:
        logger.exception("failed")
    found = lines(capsys)
    assert SECRET not in json.dumps(found)
    assert found[0]["message"].startswith("before ")


@pytest.mark.parametrize(
    "text", ["listening on 127.0.0.1:8080", 'File "/a/b.py", line 3', "it took 10.5 ms", "a.b c:d"]
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert scrub(text) == text


IDS = st.text("abcXYZ019_-", min_size=1, max_size=20)


@given(app=IDS, key=IDS, secret=st.text("abcXYZ019_-", min_size=8, max_size=40))
def test_any_key_string_is_scrubbed(app: str, key: str, secret: str) -> None:
    assert secret not in scrub(f"x {app}.{key}:{secret} y").partition(":")[2]


@given(st.text(max_size=200))
def test_scrubbing_takes_anything(text: str) -> None:
    assert scrub(scrub(text)) == scrub(text)


def test_a_trace_is_one_bounded_string(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("x" * 100_000)
    except ValueError:
        logger.exception("failed")
    (line,) = lines(capsys)
    assert line["trace"].startswith("Traceback (most recent call last)")
    assert len(line["trace"]) < TEXT_CHARS_MAX + 100


def test_a_broken_log_call_prints_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    record = logger.makeRecord("tidelog.test", logging.ERROR, "f", 1, "%d", (SECRET,), None)
    ScrubbedStream().handle(record)
    (line,) = lines(capsys)
    assert line["message"] == "unloggable line of tidelog.test"


def test_lone_surrogates_can_be_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logger.error("\ud800")
    assert lines(capsys)[0]["message"] == "?"


UNCAUGHT = """
import threading
from api import structured_logging

structured_logging.configure("info")
structured_logging.log_the_uncaught()

def fails():
    raise RuntimeError("app.key:hush-hush")

class Failing:
    def __del__(self):
        fails()

thread = threading.Thread(target=fails, name="a-thread")
thread.start()
thread.join()
Failing()
"""


def test_what_nobody_catches_is_a_line_without_secrets() -> None:
    line = [sys.executable, "-c", UNCAUGHT]
    ended = subprocess.run(line, capture_output=True, text=True, env=environment(), timeout=60)
    first, second = [json.loads(said) for said in ended.stderr.splitlines()]
    assert (first["level"], first["message"]) == ("critical", "a-thread ended by an exception")
    assert (second["level"], second["logger"]) == ("error", "tidelog.process")
    assert "RuntimeError" in first["trace"]
    assert "RuntimeError" in second["trace"]
    assert "hush" not in ended.stderr
