"""ACK and NACK, in the order of the messages they answer (RTN7).

A refusal is known at once, a success when it is on disk; clients take an answer to settle all that
came before it, so none may overtake another. Neighbouring successes share one ACK.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from api.realtime.protocol import Action
from broker.errors import BrokerError

Serials = Sequence[str | None]


class Slot(msgspec.Struct, gc=False):
    """The place of one protocol message's answer: what it became, None until that is known."""

    msg_serial: int
    answer: Serials | BrokerError | None = None


class Acknowledgements:
    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._slots: list[Slot] = []

    def __len__(self) -> int:
        """How many messages wait for their answer."""
        return len(self._slots)

    def expect(self, msg_serial: int) -> Slot:
        slot = Slot(msg_serial)
        self._slots.append(slot)
        return slot

    def flush(self) -> None:
        """Send the answers that nothing unanswered lies before."""
        results: list[dict[str, Any]] = []
        first = 0
        for slot in self._settled():
            if isinstance(slot.answer, BrokerError):
                self._ack(first, results)
                self._nack(slot.msg_serial, slot.answer)
                results = []
                continue
            if slot.msg_serial != first + len(results):
                self._ack(first, results)
                first, results = slot.msg_serial, []
            results.append({"serials": slot.answer})
        self._ack(first, results)

    def _settled(self) -> list[Slot]:
        """The slots that can be answered; they wait no more."""
        slots, count = self._slots, 0
        for slot in slots:
            if slot.answer is None:
                break
            count += 1
        self._slots = slots[count:]
        return slots[:count]

    def _ack(self, first: int, results: list[dict[str, Any]]) -> None:
        """Of the messages from `first` on, as many as there are results."""
        if results:
            count = len(results)
            message = {"action": Action.ACK, "msgSerial": first, "count": count, "res": results}
            self._send(message)

    def _nack(self, msg_serial: int, error: BrokerError) -> None:
        self._send(
            {
                "action": Action.NACK,
                "msgSerial": msg_serial,
                "count": 1,
                "error": error.info,
            }
        )
