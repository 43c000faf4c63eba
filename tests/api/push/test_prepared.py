"""What is made of a payload is made once for each publish, and only so much of it is kept."""

import pytest

from api.push.outcome import NotSent
from api.push.payload import for_apns
from api.push.prepared import KEPT_MAX, Prepared
from tests.api.push.rig import HELLO


class Making:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, payload: dict[str, object]) -> str:
        self.count += 1
        return f"{self.count} {payload['n']}"


def test_once_for_all_devices_of_a_publish() -> None:
    making = Making()
    prepared = Prepared(making)
    one, other = {"n": 1}, {"n": 1}
    assert [prepared(one), prepared(other), prepared(one), prepared(other)] == ["1 1", "2 1"] * 2
    assert making.count == 2


def test_nobody_gets_what_was_made_of_another_payload() -> None:
    """Even where a new payload is in the place in memory that an old one had."""
    prepared = Prepared(Making())
    for number in range(10 * KEPT_MAX):
        assert prepared({"n": number}).endswith(f" {number}")


def test_no_more_than_so_many_are_kept_and_the_newest_are() -> None:
    making = Making()
    prepared = Prepared(making)
    payloads = [{"n": number} for number in range(KEPT_MAX + 5)]
    for payload in payloads:
        prepared(payload)
    assert len(prepared) == KEPT_MAX
    for payload in payloads[5:]:
        prepared(payload)
    assert making.count == KEPT_MAX + 5


def test_a_refusal_is_not_kept() -> None:
    prepared = Prepared(for_apns)
    for _ in range(2):
        with pytest.raises(NotSent):
            prepared({"notification": "x"})
    assert len(prepared) == 0
    assert prepared(HELLO) is prepared(HELLO)
