"""What a gateway answered, bounded, and what can be read from it without trusting it.

Refuses to raise: a gateway may answer anything at all.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

RETRY_AFTER_MS_MAX = 24 * 3_600_000  # longer than any notification is retried
_SECONDS = re.compile(r"[0-9]{1,9}")
_REASON = re.compile(r"[A-Za-z_]{1,64}")


@dataclass(frozen=True)
class Reply:
    """body: its beginning, if it was longer than we read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body's object; empty if it is not one."""
        try:
            document = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    def retry_after_ms(self, now_ms: int) -> int | None:
        """Retry-After in either of its forms (RFC 9110 10.2.3)."""
        text = self.headers.get("retry-after", "").strip()
        if _SECONDS.fullmatch(text):
            return min(int(text) * 1_000, RETRY_AFTER_MS_MAX)
        try:
            at = parsedate_to_datetime(text).replace(tzinfo=UTC)
        except (ValueError, OverflowError, TypeError):
            return None
        return max(0, min(int(at.timestamp() * 1_000) - now_ms, RETRY_AFTER_MS_MAX))


def reason(value: object) -> str:
    """A gateway's name for what is wrong, if it looks like one: what else it says may repeat a
    token, and goes nowhere."""
    return value if isinstance(value, str) and _REASON.fullmatch(value) else ""
