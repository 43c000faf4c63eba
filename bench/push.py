"""`push`: one message that notifies many devices: accepted, delivered, and cut off by kill -9.

`python -m bench push --write` measures a hundred thousand devices and puts them into RESULTS.md;
`--quick` looks at ten thousand. A device that was not told fails the run.
"""

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
from bench.push_devices import APP, channel, register, settings, undelivered
from bench.push_gateway import Counted, Reached, counting_gateway
from bench.realtime.process import exact_cpu_seconds, resident_kib
from bench.realtime.server import Server
from bench.scale import Scale
from bench.server_process import KEY
from bench.tables import Cell, Table
from broker import Broker
from broker.push.events import Selector
from broker.push.pages import PAGE_DEVICES

TITLE = "one message that notifies many devices, and kill -9 while it does"
CAVEATS = """\
- Apple devices: each notification is a request over HTTP/2 and TLS on the loopback, with a provider
  token, to a gateway that is a process of its own and says 200 at once: what the broker can send,
  without the network and the limits of the real one. At most 50 attempts at an endpoint are made at
  a time, and this is one.
- The message is published over HTTP to a channel whose subscribers are the devices themselves.
  "Told" is when the last device's notification reached the gateway, from the call of the publish.
  "Published" is one call in a turn, whose reply competes with the first page of deliveries; how
  accepting depends on the number of devices is in the last table.
- The gateway shares the machine; what it took of it is told below the table. How many a second is
  a fact of this machine and of what else runs on it, as the load average above tells: at more than
  two, seconds are long, and it is processor time and the ratios within a round that compare.
- After every row each device must have been told, always under the same id; a run that lost one
  fails, and is not here. "Twice": what came more than once until the last device was told; after
  a kill, what of the page that was at work had arrived.
- The most devices have one turn and one kill, the others one in each round.
- Accepted: `Push.publish` in this process, which delivers nothing meanwhile. "x one device" is of
  what was accepted per second.
- Memory: VmRSS, which has the pages of LMDB's map in it. The garbage collector is the server's own.
"""
_PATIENCE_S = 600.0  # on a machine that does much else
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
    gateway_cpu_s: float


class Fanout:
    """Publishes to the devices of a channel, and asks the gateway what they were told."""

    def __init__(self, server: Server, gateway: Reached, patience_s: float = _PATIENCE_S) -> None:
        self._server = server
        self._gateway = gateway
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
        async with Client(self._gateway.questions, KEY) as client:
            answer, _ = await client.get(f"/{self._run}/{devices}")
        return msgspec.json.decode(answer, type=Counted)

    async def turn(self, audience: int) -> Turn:
        pid = self._server.pid
        gateway_cpu_s = (await self.told(0)).cpu_s
        before, cpu, began = resident_kib(pid), exact_cpu_seconds(pid), perf_counter()
        published_s = await self.publish(audience)
        counted = await self.told(audience)
        cpu = exact_cpu_seconds(pid) - cpu
        counted.check(audience)
        return Turn(
            published_s=published_s,
            told_s=counted.last_s - began,
            cpu_s=cpu,
            twice=counted.twice,
            before=before,
            after=resident_kib(pid),
            gateway_cpu_s=counted.cpu_s - gateway_cpu_s,
        )

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
    with counting_gateway(work) as gateway:
        server = Server(work / "push", settings=settings(work, gateway))
        began = perf_counter()
        await register(server.data, scale.push)
        rate = max(scale.push) / (perf_counter() - began)
        try:
            server.start()
            fanout = Fanout(server, gateway)
            turns = await _turns(fanout, scale)
            kills = await _kills(fanout, scale)
        finally:
            server.stop()
    notes = [
        f"{max(scale.push):,} devices were registered and subscribed before, {rate:,.0f}/s.",
        f"The gateway took {_gateway_us(turns):.0f} us of processor time for each.",
    ]
    return [
        Table("Delivered", _fanout_columns(scale), _fanout_rows(turns, scale), notes),
        Table("Killed half-way, and started again", _KILL_COLUMNS, kills),
        await _accepted(server.data, scale),
    ]


async def _turns(fanout: Fanout, scale: Scale) -> dict[int, list[Turn]]:
    """Of each audience, A B C A B C …; the largest in the last round only."""
    await fanout.turn(1)  # opens the first connections
    turns: dict[int, list[Turn]] = {audience: [] for audience in scale.push}
    for left in reversed(range(scale.rounds)):
        for audience, made in turns.items():
            if audience < max(scale.push) or not left:
                made.append(await fanout.turn(audience))
    return turns


async def _kills(fanout: Fanout, scale: Scale) -> list[list[Cell]]:
    audiences = [scale.push[-2]] * scale.rounds + [max(scale.push)]
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
        f"x {scale.push[-2]:,} devices",
        "CPU us/delivery",
        "told twice",
        "RSS MiB before",
        "RSS MiB after",
    )


def _fanout_rows(turns: dict[int, list[Turn]], scale: Scale) -> list[list[Cell]]:
    """Medians, and medians of ratios within a round. Memory before the first and after the last."""
    one, many = turns[scale.push[0]], turns[scale.push[-2]]
    return [
        [
            audience,
            median(turn.published_s for turn in made) * 1e3,
            ratio(
                [turn.published_s for turn in made],
                [turn.published_s for turn in one[-len(made) :]],
            ),
            median(turn.told_s for turn in made),
            median(_rates(audience, made)),
            ratio(_rates(audience, made), _rates(scale.push[-2], many)[-len(made) :]),
            median(turn.cpu_s for turn in made) / audience * 1e6,
            sum(turn.twice for turn in made),
            made[0].before / 1024,
            made[-1].after / 1024,
        ]
        for audience, made in turns.items()
    ]


def _rates(audience: int, made: Sequence[Turn]) -> list[float]:
    return [audience / turn.told_s for turn in made]


def _gateway_us(turns: dict[int, list[Turn]]) -> float:
    spent = sum(turn.gateway_cpu_s for made in turns.values() for turn in made)
    return spent / sum(audience * len(made) for audience, made in turns.items()) * 1e6


def _within_a_page(audience: int, turn: int) -> int:
    """About half-way, each time elsewhere in a page: what is told twice depends on it."""
    return audience // 2 + (1 + turn) * 29 % PAGE_DEVICES


async def _accepted(data: Path, scale: Scale) -> Table:
    """Of a directory that nobody needs afterwards: what is accepted here is never delivered."""
    samples = {audience: Sample() for audience in scale.push}
    async with undelivered(data) as opened:
        for _ in range(scale.rounds):
            taken: dict[int, list[float]] = {audience: [] for audience in samples}
            for _ in range(scale.pages):  # in turn, for the disk's pace changes within a second
                for audience, latencies in taken.items():
                    latencies.append(await _seconds_to_accept(opened, audience))
            for audience, sample in samples.items():
                spent = sum(taken[audience])
                sample.add(Sample(scale.pages, spent, latencies=taken[audience]))
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


async def _seconds_to_accept(opened: Broker, audience: int) -> float:
    start = perf_counter()
    selector = Selector(channel=channel(audience))
    await opened.push.publish(APP, selector, {"notification": {"title": "Tide"}})
    return perf_counter() - start
