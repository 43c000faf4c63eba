"""Answers go out in the order of the messages, neighbouring successes in one ACK (RTN7)."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.realtime.acknowledgements import Acknowledgements
from api.realtime.protocol import Action
from broker.errors import BadRequest, BrokerError

REFUSED = BadRequest("no", 40013)


class Client:
    """Reads ACK and NACK as SDKs do: each settles `count` messages from msgSerial on."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.answers = Acknowledgements(self.messages.append)

    @property
    def settled(self) -> list[tuple[int, Any]]:
        found: list[tuple[int, Any]] = []
        for message in self.messages:
            first, count = message["msgSerial"], message["count"]
            if message["action"] == Action.NACK:
                assert count == 1
                found.append((first, message["error"]["code"]))
                continue
            assert message["action"] == Action.ACK
            assert count == len(message["res"]) > 0
            serials = [result["serials"] for result in message["res"]]
            found += zip(range(first, first + count), serials, strict=True)
        return found


def test_nothing_is_said_of_nothing() -> None:
    client = Client()
    client.answers.flush()
    client.answers.expect(0)
    client.answers.flush()
    assert client.messages == []


def test_neighbours_share_an_acknowledgement() -> None:
    client = Client()
    for msg_serial in range(3):
        client.answers.expect(msg_serial).answer = [f"serial-{msg_serial}"]
    client.answers.flush()
    assert client.messages == [
        {
            "action": Action.ACK,
            "msgSerial": 0,
            "count": 3,
            "res": [{"serials": [f"serial-{number}"]} for number in range(3)],
        }
    ]


def test_a_repeated_number_is_answered_again() -> None:
    client = Client()
    for msg_serial in (7, 7, 8):
        client.answers.expect(msg_serial).answer = ["a"]
    client.answers.flush()
    assert [(m["msgSerial"], m["count"]) for m in client.messages] == [(7, 1), (7, 2)]


def test_a_refusal_waits_for_what_came_before_it() -> None:
    client = Client()
    first = client.answers.expect(0)
    client.answers.expect(1).answer = REFUSED
    client.answers.flush()
    assert client.messages == []
    assert len(client.answers) == 2
    first.answer = ["a"]
    client.answers.flush()
    assert client.settled == [(0, ["a"]), (1, 40013)]
    assert len(client.answers) == 0


def test_success_without_serials_is_success() -> None:
    """Presence has none."""
    client = Client()
    client.answers.expect(0).answer = ()
    client.answers.flush()
    assert client.settled == [(0, ())]


# Each message: its number, whether it is refused, and after how many others it is answered.
_MESSAGES = st.lists(st.tuples(st.integers(-1, 9), st.booleans(), st.integers(0, 6)), max_size=30)


@given(_MESSAGES, st.booleans())
def test_whatever_is_known_when_the_order_is_kept(
    messages: list[tuple[int, bool, int]], counting: bool
) -> None:
    client = Client()
    expected = [
        (index if counting else msg_serial, 40013 if refused else [str(index)])
        for index, (msg_serial, refused, _) in enumerate(messages)
    ]
    slots = [client.answers.expect(msg_serial) for msg_serial, _ in expected]
    for delay in range(7):
        for slot, (_, answer), message in zip(slots, expected, messages, strict=True):
            if message[2] == delay:
                slot.answer = _as_given(answer)
        client.answers.flush()
        known = [slot.answer is not None for slot in slots]
        ready = known.index(False) if False in known else len(known)
        assert client.settled == expected[:ready]
        assert len(client.answers) == len(expected) - ready


def _as_given(answer: Any) -> list[str] | BrokerError:
    return REFUSED if answer == 40013 else answer
