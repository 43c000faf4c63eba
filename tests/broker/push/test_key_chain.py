"""The key chain, against the vectors that gematik published."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from broker.push.key_chain import (
    Link,
    advanced,
    first,
    is_month,
    month_after,
    month_at,
    months_between,
)
from tests.broker.push.gematik_client import derived

ISS = bytes.fromhex("f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b7605022da52e6ccc26fd2")
OCTOBER = Link(
    "2023-10",
    bytes.fromhex("185fed66ea5cabbe00147bbd298b5dab0ed41b57ab254d35897b3a4504306e3b"),
    bytes.fromhex("3b4adcd58dea98db8e9cb0f5763fcd04fe932d67926cc04b20ba2a2f304ffff9"),
)
NOVEMBER = Link(
    "2023-11",
    bytes.fromhex("0c8662d90b04818afb317406fe7fcfcf8d103cd9bc6ad7847890d28620e85ec3"),
    bytes.fromhex("39aa5dacd538f53f4b956d84c9b8f2e26933274d160b9fd1a263a27681c6331b"),
)


def hkdf(secret: bytes, month: str) -> Link:
    return Link(month, *derived(secret, month))


def test_the_published_vectors() -> None:
    assert first(ISS, "2023-10") == OCTOBER == hkdf(ISS, "2023-10")
    assert advanced(OCTOBER, "2023-11") == NOVEMBER


def test_months_in_which_nothing_was_sent_have_their_link() -> None:
    december = hkdf(NOVEMBER.secret, "2023-12")
    assert advanced(OCTOBER, "2024-01") == hkdf(december.secret, "2024-01")
    assert advanced(OCTOBER, "2024-01") != hkdf(NOVEMBER.secret, "2024-01"), "none is skipped"


def test_there_is_no_way_back() -> None:
    assert advanced(NOVEMBER, "2023-10") == NOVEMBER
    assert advanced(NOVEMBER, "2023-11") == NOVEMBER


@pytest.mark.parametrize(
    ("month", "following"),
    [
        ("2023-10", "2023-11"),
        ("2023-12", "2024-01"),
        ("0999-12", "1000-01"),
        ("2024-01", "2024-02"),
    ],
)
def test_the_month_behind(month: str, following: str) -> None:
    assert month_after(month) == following
    assert (months_between(month, following), months_between(following, month)) == (1, -1)


@pytest.mark.parametrize(
    "text", ["2023-13", "2023-00", "2023-1", "23-10", "2023-10 ", "2023-10\n", "", "\uff12023-10"]
)
def test_what_is_no_month(text: str) -> None:
    assert not is_month(text)
    assert is_month("2023-10")


@pytest.mark.parametrize(
    ("moment", "month"),
    [
        (datetime(2026, 12, 31, 22, 59, 59, tzinfo=UTC), "2026-12"),
        (datetime(2026, 12, 31, 23, 0, 0, tzinfo=UTC), "2027-01"),
        (datetime(2026, 6, 30, 21, 59, 59, tzinfo=UTC), "2026-06"),
        (datetime(2026, 6, 30, 22, 0, 0, tzinfo=UTC), "2026-07"),  # in summer, two hours ahead
    ],
)
def test_a_month_begins_by_the_clocks_of_its_zone(moment: datetime, month: str) -> None:
    ms = int(moment.timestamp() * 1_000)
    assert month_at(ms, ZoneInfo("Europe/Berlin")) == month
    assert month_at(ms, UTC) == moment.strftime("%Y-%m")
