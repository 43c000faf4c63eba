"""For how long a notification is tried."""

from typing import Any

import pytest

from broker.push.lifetime import TTL_MS_MAX, TTL_MS_MIN, expiry_ms


@pytest.mark.parametrize(
    ("payload", "lifetime_ms"),
    [
        ({}, TTL_MS_MAX),
        ({"notification": {"ttl": 3_600}}, 3_600_000),
        ({"ttl": "3600s"}, 3_600_000),
        ({"notification": {"ttl": "120"}, "ttl": 3_600}, 120_000),
        ({"ttl": 0}, TTL_MS_MIN),
        ({"ttl": 10**8}, TTL_MS_MAX),
        ({"ttl": 90.9}, 90_000),
    ],
)
def test_what_is_asked_for_within_a_day(payload: dict[str, Any], lifetime_ms: int) -> None:
    assert expiry_ms(payload, 1_000) == 1_000 + lifetime_ms


@pytest.mark.parametrize("ttl", [True, -1, "soon", "1h", None, [], {}, float("nan"), 10**12])
def test_what_makes_no_sense_is_left_to_the_transports(ttl: object) -> None:
    assert expiry_ms({"notification": {"ttl": ttl}}, 0) == TTL_MS_MAX
    assert expiry_ms({"notification": ttl, "ttl": ttl}, 0) == TTL_MS_MAX
