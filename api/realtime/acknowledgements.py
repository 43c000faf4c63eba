"""ACK and NACK, in the order of the messages they answer (RTN7).

A refusal is known at once, a success when it is on disk; clients take an answer to settle all that
came before it, so none may overtake another. Neighbouring successes share one ACK.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from api.realtime.protocol import Action
from broker.errors import BrokerError

Serials = Sequence[str | None]


class Slot:
    """The place of one protocol message's answer."""

    __slots__ = ("answer", "msg_serial")

    def __init__(self, msg_serial: int) -> None:
        self.msg_serial = msg_serial
        self.answer: Serials | BrokerError | None = None


class Acknowledgements:
    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._slots: deque[Slot] = deque()

    def __len__(self) -> int:
        """How many messages wait for their answer."""
        return len(self._slots)

    def expect(self, msg_serial: int) -> Slot:
        slot = Slot(msg_serial)
        self._slots.append(slot)
        return slot

    def flush(self) -> None:
        """Send the answers that nothing unanswered lies before."""
        slots = self._slots
        while slots and slots[0].answer is not None:
            first = slots.popleft()
            if isinstance(first.answer, BrokerError):
                self._nack(first.msg_serial, first.answer)
                continue
            results: list[dict[str, Any]] = [{"serials": first.answer}]
            while self._continues(first.msg_serial + len(results)):
                results.append({"serials": slots.popleft().answer})
            self._ack(first.msg_serial, results)

    def _continues(self, msg_serial: int) -> bool:
        if not self._slots:
            return False
        following = self._slots[0]
        is_success = following.answer is not None and not isinstance(following.answer, BrokerError)
        return is_success and following.msg_serial == msg_serial

    def _ack(self, msg_serial: int, results: list[dict[str, Any]]) -> None:
        count = len(results)
        self._send({"action": Action.ACK, "msgSerial": msg_serial, "count": count, "res": results})

    def _nack(self, msg_serial: int, error: BrokerError) -> None:
        self._send(
            {
                "action": Action.NACK,
                "msgSerial": msg_serial,
                "count": 1,
                "error": error.info,
            }
        )
