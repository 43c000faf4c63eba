"""Waiting until everybody was told of everything."""

import trio

from broker import Broker
from broker.event import Kind

STUCK_S = 30


async def settled(b: Broker) -> None:
    """Nothing is on its way any more."""
    changed = trio.Event()

    def note(_: object) -> None:
        changed.set()

    b.epoch.hub.watch(Kind.PUBLISHES, note)
    with trio.fail_after(STUCK_S):
        while await b.outbox.unfinished(1):
            await changed.wait()
            changed = trio.Event()
