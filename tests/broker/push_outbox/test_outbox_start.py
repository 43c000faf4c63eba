"""A broker delivers notifications when its owner is ready for what follows from them."""

from pathlib import Path

import trio

import broker
from tests.broker.acting import Time
from tests.broker.push_outbox.delivering import Delivering
from tests.broker.push_outbox.gateway import TRANSPORT, Gateway, address


async def test_nothing_is_delivered_before_it_may_be(
    path: Path, time: Time, gateway: Gateway
) -> None:
    """What was accepted before, and what is meanwhile."""
    async with broker.open(path, clock=time.wall, hold_connections=False) as closed:
        await Delivering(closed, gateway=gateway, time=time).notify(recipient=address("a"))
    begins = trio.Event()
    opening = broker.open(path, clock=time.wall, transports={TRANSPORT: gateway}, delivers=begins)
    async with opening as opened:
        delivering = Delivering(opened, gateway=gateway, time=time)
        await delivering.notify(recipient=address("b"))
        await delivering.nothing_happens()
        assert gateway.names() == []
        begins.set()
        await delivering.until_delivered()
    assert sorted(gateway.names()) == ["a", "b"]
