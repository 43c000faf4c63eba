"""How often each caller may ask."""

import pytest

from api import rate_limit
from api.rate_limit import RateLimit


def test_the_requests_of_a_period_come_back_one_by_one() -> None:
    limit = RateLimit(60, 60)
    assert [limit.take("ann", 100.0) for _ in range(61)] == [0.0] * 60 + [1.0]
    assert limit.take("bob", 100.0) == 0.0
    assert limit.take("ann", 100.5) == pytest.approx(0.5)
    assert limit.take("ann", 101.0) == 0.0
    assert limit.take("ann", 101.0) == pytest.approx(1.0)


def test_a_bucket_holds_what_is_for_one_period() -> None:
    limit = RateLimit(5, 1)
    limit.take("ann", 0.0)
    assert [limit.take("ann", 9_000.0) for _ in range(6)] == [0.0] * 5 + [pytest.approx(0.2)]


def test_no_limit_unless_there_is_one() -> None:
    limit = RateLimit(0, 60)
    assert {limit.take("ann", 1.0) for _ in range(1_000)} == {0.0}


def test_only_so_many_callers_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "CALLERS_MAX", 10)
    limit = RateLimit(1, 1)
    for number in range(100):
        assert limit.take(number, 1.0) == 0.0
    assert len(limit) == 10
    assert limit.take(99, 1.0) == 1.0
    assert limit.take(0, 1.0) == 0.0
