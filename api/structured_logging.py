"""Log lines: one JSON object each, on standard error, and never a secret in one.

Owns the root logger of a process. Every line has time, level, logger, message and, while a request
is served, its id, and that of its trace where there are traces; an exception adds its stack, one of
several workers its number.

Invariant: whatever a caller logs, what leaves went through `scrub`: key strings, credentials of
Authorization headers, tokens and keys in queries and JSON, JWTs and private keys become `***`. It
looks at shapes, not at known secrets, so it would rather hide too much: a channel named
`a.b:c` is not readable in a log.

Fault model: a log call with broken arguments, or standard error gone. Neither may raise into the
caller, nor print the arguments the way the standard library does.
"""

import json
import logging
import re
import sys
import threading
import traceback
from datetime import UTC, datetime

from api.request_id import request_id
from api.trace_context import trace_id

logger = logging.getLogger("tidelog.process")
HIDDEN = "***"
TEXT_CHARS_MAX = 16_384  # of one message or trace, cut behind the scrubbing

_NAMED = r"access_?token|key|token|secret|signature|password|connection_?key|key_?secret"
_IPV4 = r"(?:\d{1,3}\.){3}\d{1,3}:\d{1,5}\b"
# What comes before a secret is kept (group 1), so that a reader sees what was there.
_SECRETS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), replacement)
    for pattern, replacement in (
        (r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----).*?(?:-----END|\Z)", rf"\1{HIDDEN}"),
        (r"(\bauthorization\b[\"']?\s*[:=,]\s*(?:b?[\"'])?)[^\"'\r\n]+", rf"\1{HIDDEN}"),
        (r"(\b(?:basic|bearer)\s+)[a-z0-9+/=._~-]{4,}", rf"\1{HIDDEN}"),
        (rf"(\b(?:{_NAMED})=)[^&\s\"']+", rf"\1{HIDDEN}"),
        (rf"([\"'](?:{_NAMED})[\"']\s*:\s*b?[\"'])[^\"']+", rf"\1{HIDDEN}"),
        (r"\beyj[\w-]+\.[\w-]+(?:\.[\w-]*)?", HIDDEN),
        (rf"(?<![\w.-])(?!{_IPV4})((?:[\w-]++\.)++[\w-]++(?::|%3a))[^\s\"'<>]+", rf"\1{HIDDEN}"),
    )
)


def scrub(text: str) -> str:
    """The text without anything that looks like a secret."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class JsonLines(logging.Formatter):
    """`worker`: which of several processes says it; None of one that is alone."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self.worker = worker

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "worker": self.worker,
            "message": _bounded(scrub(record.getMessage())),
            "request_id": scrub(request_id.get() or "") or None,
            "trace_id": trace_id(),
            "trace": _trace(record),
        }
        present = {name: value for name, value in fields.items() if value is not None}
        return json.dumps(present, ensure_ascii=False).encode("utf-8", "replace").decode()


class ScrubbedStream(logging.StreamHandler):  # type: ignore[type-arg] # subscriptable from 3.12 on
    """Standard error as it is at the moment of writing."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """The library would print the arguments, which may hold what `scrub` should have seen."""
        try:
            print(
                f'{{"level": "error", "message": "unloggable line of {record.name}"}}',
                file=sys.stderr,
            )
        except (OSError, ValueError):  # standard error is gone, there is nobody to tell
            return


def configure(level: str, worker: int | None = None) -> None:
    """Make this process log as described above. `level`: the least severe that is written.
    `worker`: its number, where several serve together."""
    handler = ScrubbedStream()
    handler.setFormatter(JsonLines(worker))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)


def log_the_uncaught() -> None:
    """Of this process: what no task and no caller catches is a line like any other, not text that
    nobody has scrubbed. Its end, if it is that of the process, is said by who started it."""

    def in_thread(given: threading.ExceptHookArgs) -> None:
        if given.exc_type is SystemExit or given.exc_value is None:
            return
        named = given.thread.name if given.thread else "a thread"
        logger.critical("%s ended by an exception", named, exc_info=given.exc_value)

    def unraisable(given: "sys.UnraisableHookArgs") -> None:
        logger.error("%s", given.err_msg or "an exception was ignored", exc_info=given.exc_value)

    threading.excepthook = in_thread
    sys.unraisablehook = unraisable


def _iso(seconds: float) -> str:
    return (
        datetime.fromtimestamp(seconds, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def _trace(record: logging.LogRecord) -> str | None:
    if not record.exc_info or record.exc_info[0] is None:
        return None
    return _bounded(scrub("".join(traceback.format_exception(*record.exc_info))))


def _bounded(text: str) -> str:
    if len(text) <= TEXT_CHARS_MAX:
        return text
    return f"{text[:TEXT_CHARS_MAX]}… ({len(text)} characters)"
