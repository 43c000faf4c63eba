"""`push`: one message that notifies many devices: accepted, delivered, and cut off by kill -9."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import msgspec
import trio

from bench.acknowledged import Wrong
from bench.http_client import Client
from bench.measuring import Sample, ratio
from bench.push_devices import APP, channel, register, undelivered
from bench.push_gateway import Counted, counting_gateway
from bench.realtime.process import exact_cpu_seconds, resident_kib
from bench.realtime.server import Server
from bench.scale import Scale
from bench.server_process import KEY
from bench.tables import Cell, Table
from broker.push.events import Selector
from broker.push.outbox import PAGE_DEVICES

TITLE = "one message that notifies many devices, and kill -9 while it does"
CAVEATS = """\
- Webhooks over plain HTTP/1.1 on the loopback, each with a signature, to a gateway that is a
  process of its own and answers at once: what the broker can send, without the network and the
  limits of a real provider. At most 50 attempts at an endpoint are made at a time, and this is one.
- The message is published over HTTP to a channel whose subscribers are the devices themselves.
  "Told" is when the last device's notification reached the gateway, from the call of the publish.
  "Published" is one call in a turn, whose reply competes with the first page of deliveries; how
  accepting depends on the number of devices is in the last table.
- The gateway shares the machine, and takes about a tenth of a core. How many a second is a fact of
  this machine and of what else runs on it: the same turns took three times the processor time while
  it was busy. The ratios, within a round, are to mind.
- After every row each device must have been told, always under the same id; a run that lost one
  fails, and is not here. "Twice": what came more than once until the last device was told; after
  a kill, what of the page that was at work had arrived.
- Accepted: `Push.publish` in this process, which delivers nothing meanwhile. "x one device" is of
  what was accepted per second.
- Memory: VmRSS, which has the pages of LMDB's map in it. The garbage collector is the server's own.
- Devices are registered one by one, as over REST: each has a key of its own, which is synced
  before the device is there. 100,000 would take longer than all the rest, so there are fewer.
"""
_PATIENCE_S = 300.0
_KILL_COLUMNS = (
    "devices",
    "told at the kill",
    "listening after s",
    "all told after s",
    "told twice",
    "lost",
)


@dataclass(frozen=True)
class Turn:
    """One notification, from its publish until all are told. Memory in KiB."""

    published_s: float
    told_s: float
    cpu_s: float
    twice: int
    before: int
    after: int


class Fanout:
    """Publishes to the devices of a channel, and asks the gateway what they were told."""

    def __init__(self, server: Server, gateway_port: int, patience_s: float = _PATIENCE_S) -> None:
        self._server = server
        self._gateway_port = gateway_port
        self._patience_s = patience_s
        self._run = 0

    async def publish(self, audience: int) -> float:
        """How many seconds it took until it was accepted."""
        self._run += 1
        push = {"notification": {"title": "Tide"}, "data": {"run": self._run}}
        body = msgspec.json.encode({"name": "e", "data": "high", "extras": {"push": push}})
        async with Client(self._server.port, KEY) as client:
            began = perf_counter()
            await client.post(f"/channels/{channel(audience)}/messages", body)
            return perf_counter() - began

    async def told(self, devices: int) -> Counted:
        """What came of the last publish, once that many devices were told. Raises Wrong when they
        are not."""
        with trio.move_on_after(self._patience_s):
            return await self._counted(devices)
        counted = await self._counted(0)
        raise Wrong(f"{devices - counted.devices} of {devices} devices were not told")

    async def _counted(self, devices: int) -> Counted:
        async with Client(self._gateway_port, KEY) as client:
            answer, _ = await client.get(f"/{self._run}/{devices}")
        return msgspec.json.decode(answer, type=Counted)

    async def turn(self, audience: int) -> Turn:
        pid = self._server.pid
        before, cpu, began = resident_kib(pid), exact_cpu_seconds(pid), perf_counter()
        published_s = await self.publish(audience)
        counted = await self.told(audience)
        cpu = exact_cpu_seconds(pid) - cpu
        counted.check(audience)
        told_s = counted.last_s - began
        return Turn(published_s, told_s, cpu, counted.twice, before, resident_kib(pid))

    async def cut_off(self, audience: int, told: int) -> list[Cell]:
        """Kills the server once that many were told, and starts it again."""
        await self.publish(audience)
        await self.told(told)
        self._server.kill()
        killed, at_the_kill = perf_counter(), await self.told(0)
        if at_the_kill.devices == audience:
            raise Wrong("everybody was told before the kill")
        self._server.start()
        listening_s = perf_counter() - killed
        counted = await self.told(audience)
        counted.check(audience)
        return [
            audience,
            at_the_kill.devices,
            listening_s,
            counted.last_s - killed,
            counted.twice,
            audience - counted.devices,
        ]


async def run(work: Path, scale: Scale) -> list[Table]:
    with counting_gateway() as gateway_port:
        server = Server(work / "push", settings=("push.allow_loopback_targets=true",))
        began = perf_counter()
        await register(server.data, scale.push, gateway_port)
        rate = max(scale.push) / (perf_counter() - began)
        try:
            server.start()
            fanout = Fanout(server, gateway_port)
            turns = await _turns(fanout, scale)
            kills = await _kills(fanout, scale)
        finally:
            server.stop()
    note = f"{max(scale.push):,} devices were registered and subscribed before, {rate:,.0f}/s."
    return [
        Table("Delivered", _fanout_columns(scale), _fanout_rows(turns, scale), [note]),
        Table("Killed half-way, and started again", _KILL_COLUMNS, kills),
        await _accepted(server.data, scale),
    ]


async def _turns(fanout: Fanout, scale: Scale) -> dict[int, list[Turn]]:
    """Of each audience, A B C A B C …"""
    await fanout.turn(1)  # opens the first connections
    turns: dict[int, list[Turn]] = {audience: [] for audience in scale.push}
    for _ in range(scale.rounds):
        for audience, made in turns.items():
            made.append(await fanout.turn(audience))
    return turns


async def _kills(fanout: Fanout, scale: Scale) -> list[list[Cell]]:
    audiences = [scale.push[1]] * scale.rounds + [max(scale.push)]
    return [
        await fanout.cut_off(audience, _within_a_page(audience, turn))
        for turn, audience in enumerate(audiences)
    ]


def _fanout_columns(scale: Scale) -> tuple[str, ...]:
    return (
        "devices",
        "published ms",
        "published x one",
        "all told s",
        "deliveries/s",
        f"x {scale.push[1]:,} devices",
        "CPU us/delivery",
        "told twice",
        "RSS MiB before",
        "RSS MiB after",
    )


def _fanout_rows(turns: dict[int, list[Turn]], scale: Scale) -> list[list[Cell]]:
    """Medians, and medians of ratios within a round. Memory before the first and after the last."""
    one, few = turns[scale.push[0]], turns[scale.push[1]]
    return [
        [
            audience,
            median(turn.published_s for turn in made) * 1e3,
            ratio([turn.published_s for turn in made], [turn.published_s for turn in one]),
            median(turn.told_s for turn in made),
            median(_rates(audience, made)),
            ratio(_rates(audience, made), _rates(scale.push[1], few)),
            median(turn.cpu_s for turn in made) / audience * 1e6,
            sum(turn.twice for turn in made),
            made[0].before / 1024,
            made[-1].after / 1024,
        ]
        for audience, made in turns.items()
    ]


def _rates(audience: int, made: Sequence[Turn]) -> list[float]:
    return [audience / turn.told_s for turn in made]


def _within_a_page(audience: int, turn: int) -> int:
    """About half-way, each time elsewhere in a page: what is told twice depends on it."""
    return audience // 2 + (1 + turn) * 29 % PAGE_DEVICES


async def _accepted(data: Path, scale: Scale) -> Table:
    """Of a directory that nobody needs afterwards: what is accepted here is never delivered."""
    samples = {audience: Sample() for audience in scale.push}
    async with undelivered(data) as opened:
        for _ in range(scale.rounds):
            for audience, sample in samples.items():
                selector = Selector(channel=channel(audience))
                latencies: list[float] = []
                began = perf_counter()
                for _ in range(scale.pages):
                    start = perf_counter()
                    await opened.push.publish(APP, selector, {"notification": {"title": "Tide"}})
                    latencies.append(perf_counter() - start)
                sample.add(Sample(scale.pages, perf_counter() - began, latencies=latencies))
    one = samples[scale.push[0]]
    rows: list[list[Cell]] = [
        [
            audience,
            sample.per_second,
            sample.latency_ms(0.5),
            sample.latency_ms(0.99),
            ratio(sample.turns, one.turns),
        ]
        for audience, sample in samples.items()
    ]
    columns = ("devices", "accepted/s", "p50 ms", "p99 ms", "x one device")
    return Table("Accepted, one after the other", columns, rows)
