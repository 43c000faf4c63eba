"""The broker that gets killed while it accepts and delivers notifications, and the zygote that
forks it (see zygote.py). Never imported by the tests' process.

Its provider is whoever reads the journal, so what was delivered outlives the process:

    S number             about to be accepted
    A number             accepted
    T number address     about to be tried, of those who are told in order
    D number address id  delivered
    I                    nothing is on its way any more

A provider has troubles, and takes its time: some deliveries are refused once in a life, some
outlast the patience of their page. Pages are small, so that many kills find one between two others.
"""

import json
import os
import random
import socket
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import trio

import broker
from broker import Broker
from broker.push import outbox_log, pages
from broker.push.transport import SENT, Outgoing, Result, Verdict
from storage import opening
from tests.crash.killable import check_in_fork, serve
from tests.crash.push_recipients import IN_ORDER, TRANSPORT, following, selector
from tests.crash.workload import say

PAGE_DEVICES, PAGE_PATIENCE_S, LEASE_MS = 10, 0.005, 500
LATENCY_S_MAX = 0.02


@dataclass
class Life:
    """What one broker does: accept `count` notifications from number `first`, and deliver until it
    is killed; one that drains ends when there is nothing to deliver."""

    path: str
    first: int
    count: int
    seed: int
    drains: bool = False


class Provider:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._refused: set[str] = set()

    def endpoint(self, outgoing: Outgoing) -> str:
        return outgoing.id

    async def send(self, outgoing: Outgoing) -> Result:
        if outgoing.recipient["address"] in IN_ORDER:
            say("T", outgoing.payload["number"], outgoing.recipient["address"])
        if self._chance.random() < 0.3:
            await trio.sleep(self._chance.random() * LATENCY_S_MAX)
        if outgoing.id not in self._refused and self._chance.random() < 0.2:
            self._refused.add(outgoing.id)
            wait_ms = self._chance.randrange(1, 20)
            return Result(verdict=Verdict.TRANSIENT, message="busy", retry_after_ms=wait_ms)
        say("D", outgoing.payload["number"], outgoing.recipient["address"], outgoing.id)
        return SENT


async def publish(b: Broker, number: int) -> None:
    say("S", number)
    payload = {"number": number}
    await b.push.publish(b.default_app(), selector(number), payload, following=following(number))
    say("A", number)


async def drained(b: Broker) -> None:
    """Looks again and again: nobody else has to know of the rows."""
    while True:
        with b.rows() as rows:
            if next(outbox_log.unfinished(rows), None) is None:
                return
        await trio.sleep(0.005)


async def live(life: Life) -> None:
    pages.PAGE_DEVICES, pages.PAGE_PATIENCE_S = PAGE_DEVICES, PAGE_PATIENCE_S
    pages.LEASE_MS = LEASE_MS
    provider = Provider(random.Random(life.seed))
    async with broker.open(Path(life.path), transports={TRANSPORT: provider}) as b:
        async with trio.open_nursery() as nursery:
            for number in range(life.first, life.first + life.count):
                nursery.start_soon(publish, b, number)
        await drained(b)
        say("I")
        if not life.drains:
            await trio.sleep_forever()


def become(journal: int, plan: str) -> NoReturn:
    """The forked process turns into a broker."""
    status = 1
    try:
        os.dup2(journal, 1)
        os.close(journal)
        life = Life(**json.loads(plan))
        check_in_fork(Path(life.path))
        opening.probe = lambda *_, **__: None
        trio.run(live, life)
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), become)
