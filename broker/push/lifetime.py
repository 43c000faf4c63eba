"""For how long a notification is tried: as long as it asks for, a day at most (push.md 5.3).

`ttl` is in seconds, a number or text like "3600s", in `notification` or beside it. One that makes
no sense is not refused here: the transports do, and say so on `[meta]log:push`.
"""

import re
from collections.abc import Mapping
from typing import Any

TTL_MS_MAX = 24 * 3_600_000
TTL_MS_MIN = 60_000  # what is wanted now or never is tried all the same
_TEXT = re.compile(r"([0-9]{1,9})s?")


def expiry_ms(payload: Mapping[str, Any], now_ms: int) -> int:
    """When nobody wants it any more."""
    notification = payload.get("notification")
    inner = notification if isinstance(notification, Mapping) else {}
    asked = seconds(inner.get("ttl", payload.get("ttl")))
    if asked is None:
        return now_ms + TTL_MS_MAX
    return now_ms + min(max(asked * 1_000, TTL_MS_MIN), TTL_MS_MAX)


def seconds(asked: object) -> int | None:
    """None for what is no time to live."""
    if isinstance(asked, str) and (match := _TEXT.fullmatch(asked)):
        return int(match[1])
    if isinstance(asked, int | float) and not isinstance(asked, bool) and 0 <= asked < 10**9:
        return int(asked)
    return None
