"""Push fan-out: a notification to many devices, from its publish until the last of them was told.

The devices' gateway (`bench.push_gateway`) is a process of its own and counts what it is told; the
server is started with that gateway and with the devices in its data. So this runs on a Tidelog that
is started here and on no other.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import anyio
import msgspec
import trio

from api.version import tidelog_version
from bench.http_client import Client
from bench.load.ably.drivers import OverWebSocket
from bench.load.ably.endpoint import Endpoint
from bench.load.ably.rest import rest
from bench.load.contenders import Contender
from bench.load.driver import Ability, Backend, Connection
from bench.load.lanes import Lane
from bench.load.result import ACKNOWLEDGED
from bench.load.stage import Stage
from bench.push_devices import channel, register, settings
from bench.push_gateway import Counted, Reached, counting_gateway
from bench.realtime.server import Server
from bench.server_process import KEY

TOLD = "all devices told"
_AT_ONCE = 8
_GLANCES = 20  # at how far it has come


@dataclass
class PushDriver:
    """runs: the numbers by which the gateway tells notifications apart."""

    endpoint: Endpoint
    gateway: Reached
    name: str = "tidelog"
    promise: str = "fsynced"
    backend: Backend = "trio"
    abilities: frozenset[Ability] = OverWebSocket.abilities | {"push"}
    runs: "count[int]" = field(default_factory=lambda: count(1))

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        async with OverWebSocket(self.name, self.promise, self.endpoint).connect() as made:
            yield made

    async def told(self, run: int, devices: int) -> Counted:
        """Returns once that many were."""
        async with Client(self.gateway.questions, "") as client:
            answer, _ = await client.get(f"/{run}/{devices}")
        return msgspec.json.decode(answer, type=Counted)


@contextmanager
def push_contender(work: Path, devices: int) -> Iterator[Contender]:
    """A server that knows so many devices, and their gateway."""
    with counting_gateway(work) as gateway:
        server = Server(work / "push", settings=settings(work, gateway))
        trio.run(register, server.data, [devices])
        try:
            server.start()
            driver = PushDriver(Endpoint("127.0.0.1", server.port, KEY), gateway)
            yield Contender(driver, f"tidelog {tidelog_version()}", server.pid)
        finally:
            server.stop()


def push(stage: Stage) -> list[Lane]:
    """A lane for each publisher: the next notification goes out when one is accepted."""
    assert isinstance(stage.driver, PushDriver)
    return [_notifying(stage, stage.driver) for _ in range(stage.options.publishers)]


def _notifying(stage: Stage, driver: PushDriver) -> Lane:
    name = channel(stage.options.devices)
    stream = stage.ledger.stream(name)

    async def act(due_ns: int) -> None:
        sequence, run = stream.next(), next(driver.runs)
        made = stage.body(stream, sequence, due_ns)
        async with rest(driver.endpoint, 1) as client:
            asked = client.notify(name, made, run)
            if await stage.settle(ACKNOWLEDGED, stream, sequence, due_ns, asked):
                stage.notified[run] = due_ns

    return Lane(act, 1, stage.late)


async def check_told(stage: Stage) -> None:
    """Every device of every accepted notification, once: the gateway's word on it."""
    driver, devices = stage.driver, stage.options.devices
    assert isinstance(driver, PushDriver)
    bound = anyio.CapacityLimiter(_AT_ONCE)

    async def one(run: int, due_ns: int) -> None:
        async with bound:
            await _check_one(stage, driver, run, due_ns, devices)

    async with anyio.create_task_group() as tasks:
        for run, due_ns in stage.notified.items():
            tasks.start_soon(one, run, due_ns)


async def _check_one(stage: Stage, driver: PushDriver, run: int, due_ns: int, devices: int) -> None:
    counted = await _told(driver, run, devices, stage.options.patience_s)
    stage.ledger.deliveries += counted.received
    if counted.devices < devices:
        missing = devices - counted.devices
        stage.ledger.violate("lost", f"{missing} of {devices} devices were not told of {run}")
    elif due_ns >= stage.record_from_ns:
        stage.latencies[TOLD].record(int(counted.last_s * 1e9) - due_ns)
    if counted.twice:
        stage.ledger.violate("duplicate", f"{counted.twice} devices were told of {run} twice")


async def _told(driver: PushDriver, run: int, devices: int, patience_s: float) -> Counted:
    """Waits as long as more and more are."""
    step = max(1, devices // _GLANCES)
    counted = await driver.told(run, 0)
    while counted.devices < devices:
        before = counted.devices
        with anyio.move_on_after(patience_s):
            counted = await driver.told(run, min(devices, before + step))
        if counted.devices == before:
            return await driver.told(run, 0)
    return counted
