"""A provider that does as a test says, through a transport that is strict about what it is given.

A recipient has an `address`, and the `endpoint` whose trouble is its own. The gateway answers SENT,
or what `says` has for the address: a Result, a Late one, an exception to raise, or an event to wait
for first.
"""

import re
from collections import Counter, defaultdict, deque
from typing import Any, NamedTuple

import trio

from broker.push.transport import SENT, Outgoing, Result, Verdict

TRANSPORT = "scripted"
PAYLOAD = {"notification": {"title": "hello"}}
_ID = re.compile(r"[0-9a-f]{32}")


class Late(NamedTuple):
    """An answer that comes when it is told to."""

    go: trio.Event
    result: Result


Answer = Result | Exception | trio.Event | Late


def address(name: str, endpoint: str = "e") -> dict[str, Any]:
    return {"transportType": TRANSPORT, "address": name, "endpoint": endpoint}


def trouble(retry_after_ms: int | None = None) -> Result:
    return Result(
        verdict=Verdict.TRANSIENT, code=103007, message="busy", retry_after_ms=retry_after_ms
    )


def dead() -> Result:
    return Result(verdict=Verdict.DEAD, code=103005, message="unregistered")


def rejected() -> Result:
    return Result(verdict=Verdict.REJECTED, code=103004, message="too large")


def misconfigured() -> Result:
    return Result(verdict=Verdict.MISCONFIGURED, code=103008, message="bad credentials")


class Gateway:
    """`got`: what arrived, in order. `under_way`: attempts that have no answer, by endpoint."""

    def __init__(self) -> None:
        self.got: list[Outgoing] = []
        self.answers: defaultdict[str, deque[Answer]] = defaultdict(deque)
        self.always: dict[str, Answer] = {}
        self.under_way: Counter[str] = Counter()
        self.most_under_way: Counter[str] = Counter()
        self._ids: dict[str, tuple[str, str, int]] = {}
        self._arrived = trio.Event()

    def says(self, name: str, *answers: Answer) -> None:
        self.answers[name].extend(answers)

    def endpoint(self, outgoing: Outgoing) -> str:
        return str(outgoing.recipient["endpoint"])

    async def send(self, outgoing: Outgoing) -> Result:
        self._check(outgoing)
        endpoint = self.endpoint(outgoing)
        self.under_way[endpoint] += 1
        self.most_under_way[endpoint] = max(self.most_under_way[endpoint], self.under_way[endpoint])
        self.got.append(outgoing)
        self._arrived.set()
        self._arrived = trio.Event()
        try:
            return await self._answer(str(outgoing.recipient["address"]), endpoint)
        finally:
            self.under_way[endpoint] -= 1

    async def _answer(self, name: str, endpoint: str) -> Result:
        script = self.answers[name]
        answer = script.popleft() if script else self.always.get(name, self.always.get(endpoint))
        if isinstance(answer, Late):
            await answer.go.wait()
            return answer.result
        if isinstance(answer, trio.Event):
            await answer.wait()
            return SENT
        if isinstance(answer, Exception):
            raise answer
        await trio.lowlevel.checkpoint()
        return answer or SENT

    def _check(self, outgoing: Outgoing) -> None:
        """An id belongs to one delivery for ever."""
        assert _ID.fullmatch(outgoing.id), outgoing.id
        assert outgoing.app
        assert outgoing.recipient.keys() - {"encryption"} == {
            "transportType",
            "address",
            "endpoint",
        }
        delivery = (outgoing.recipient["address"], repr(outgoing.payload), outgoing.expires_ms)
        assert self._ids.setdefault(outgoing.id, delivery) == delivery

    def names(self) -> list[str]:
        return [str(outgoing.recipient["address"]) for outgoing in self.got]

    async def until(self, count: int) -> None:
        """So many attempts have arrived, in all."""
        while len(self.got) < count:
            await self._arrived.wait()
