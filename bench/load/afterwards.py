"""What is done with everybody connected, but off the clock: storing messages before a run, and
looking afterwards whether all of them came, and are kept."""

from collections.abc import Iterable, Sequence
from itertools import cycle

import anyio

from bench.load.body import now_ns
from bench.load.driver import Connection
from bench.load.ledger import Stream
from bench.load.stage import NS, Stage, presence_of

_AT_ONCE = 256
_READ_AT_ONCE = 8
_GLANCE_S = 0.02
_SPARE = 1_000  # of history: what should not be there is to be seen
_OFF_THE_CLOCK = "off the clock"


async def store(stage: Stage) -> None:
    """As many messages in each channel as the options say."""
    streams = [stage.ledger.stream(channel) for channel in stage.channels]
    if stage.options.stored:
        await _publish_all(stage, [one for one in streams for _ in range(stage.options.stored)])


async def prove(stage: Stage) -> None:
    """That the connections which had nothing to do still work: a message to each channel."""
    await _publish_all(stage, [stage.ledger.stream(channel) for channel in stage.channels])


async def _publish_all(stage: Stage, streams: Sequence[Stream]) -> None:
    """One after the other on each channel, many channels at once: a stream keeps its order."""
    of: dict[str, list[Stream]] = {}
    for stream in streams:
        of.setdefault(stream.channel, []).append(stream)
    bound = anyio.CapacityLimiter(_AT_ONCE)
    connections = cycle(stage.publishers)

    async def one(connection: Connection, mine: Iterable[Stream]) -> None:
        async with bound:
            for stream in mine:
                sequence, due_ns = stream.next(), now_ns()
                asked = connection.publish(stream.channel, stage.body(stream, sequence, due_ns))
                await stage.settle(_OFF_THE_CLOCK, stream, sequence, due_ns, asked)

    async with anyio.create_task_group() as tasks:
        for mine in of.values():
            tasks.start_soon(one, next(connections), mine)
    stage.latencies.pop(_OFF_THE_CLOCK, None)


async def settle(stage: Stage) -> None:
    """Waits for what is missing, as long as some of it comes; then all is checked."""
    await _wait_for_deliveries(stage)
    stage.ledger.finish()
    await _check_members(stage)
    await _check_history(stage)


async def _wait_for_deliveries(stage: Stage) -> None:
    missing, since = -1, now_ns()
    while found := stage.ledger.missing():
        stage.delivered_ns = now_ns()
        if found != missing:
            missing, since = found, now_ns()
        elif now_ns() - since > stage.options.patience_s * NS:
            return
        await anyio.sleep(_GLANCE_S)
    await anyio.sleep(_GLANCE_S)  # what comes twice comes soon after


async def _check_members(stage: Stage) -> None:
    for channel, clients in stage.present.items():
        members = await stage.publishers[0].members(channel)
        for client, is_present in clients.items():
            if is_present is not None and is_present != (client in members):
                kind = "absent" if is_present else "ghost"
                state = "not there" if is_present else "still there"
                stage.ledger.violate(kind, f"{client} of {presence_of(channel)} is {state}")


async def _check_history(stage: Stage) -> None:
    if "history" not in stage.driver.abilities:
        stage.ledger.unchecked.append("history: this driver has none")
        return
    bound = anyio.CapacityLimiter(_READ_AT_ONCE)
    connections = cycle(stage.publishers or stage.subscribers)

    async def read(connection: Connection, channel: str, limit: int) -> None:
        async with bound:
            stage.ledger.check_history(channel, await connection.history(channel, limit))

    async with anyio.create_task_group() as tasks:
        for channel in stage.channels:
            sent = sum(stream.sent for stream in stage.ledger.of(channel))
            if sent:
                tasks.start_soon(read, next(connections), channel, sent + _SPARE)
