"""The checker behind every number: a run that lost, doubled or invented a message must not pass."""

import pytest

from bench.acknowledged import MESSAGE_BYTES, Acknowledged, Stored, Wrong, number_of, payload

LOG = [Stored(0, 10), Stored(1, 11), Stored(2, 20)]


def acknowledged(*publishers: list[Stored]) -> Acknowledged:
    made = Acknowledged()
    for messages in publishers:
        made.publisher(messages)
    return made


def test_accepts_what_is_right():
    acknowledged([LOG[0], LOG[2]], [LOG[1]], []).check(LOG)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (LOG[:2], "1 acknowledged messages are not in the log"),
        ([], "3 acknowledged messages are not in the log"),
        ([*LOG, Stored(2, 21)], "message 2 is in the log twice"),
        ([*LOG, Stored(3, 21)], "message 3 is in the log but was never acknowledged"),
        ([*LOG[:2], Stored(2, 21)], "message 2 has serial 21, not 20"),
        ([LOG[1], LOG[0], LOG[2]], "serial 10 follows 11"),
    ],
)
def test_refuses_a_log_that_differs(log: list[Stored], said: str):
    with pytest.raises(Wrong, match=said):
        acknowledged(LOG).check(log)


def test_refuses_acknowledgements_out_of_order():
    with pytest.raises(Wrong, match="message 0 was acknowledged out of order"):
        acknowledged([LOG[1], LOG[0], LOG[2]]).check(LOG)


def test_refuses_a_message_acknowledged_twice():
    with pytest.raises(Wrong, match="message 2 was acknowledged twice"):
        acknowledged(LOG, [Stored(2, 20)]).check(LOG)


def test_payload_carries_its_number():
    assert len(payload(7).encode()) == MESSAGE_BYTES
    assert number_of(payload(123_456)) == 123_456
    assert number_of(payload(3).encode()) == 3
