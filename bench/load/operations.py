"""What a workload's clients do: each kind of operation is a function that makes its lanes.

publish     a message, until it is acknowledged
presence    enters, or leaves again: one client for each connection
history     reads the newest page of a channel, and checks it
resume      a subscriber loses its connection, and goes on
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

from bench.load.driver import Ability, Connection, Unknown
from bench.load.lanes import Lane
from bench.load.ledger import Stream
from bench.load.options import spread
from bench.load.pushing import push
from bench.load.result import ACKNOWLEDGED
from bench.load.stage import Stage, presence_of

PRESENCE, HISTORY, RESUMED = "presence acknowledged", "history read", "resumed"


def publish(stage: Stage) -> list[Lane]:
    window = stage.options.window if "pipeline" in stage.driver.abilities else 1
    spreading = spread(len(stage.publishers), len(stage.channels))
    return [
        _publishing(stage, connection, [stage.channels[one] for one in mine], window)
        for connection, mine in zip(stage.publishers, spreading, strict=True)
    ]


def _publishing(stage: Stage, connection: Connection, channels: list[str], window: int) -> Lane:
    streams = cycle([stage.ledger.stream(channel) for channel in channels])

    async def act(due_ns: int) -> None:
        stream = next(streams)
        sequence = stream.next()
        made = stage.body(stream, sequence, due_ns)
        asked = connection.publish(stream.channel, made)
        await stage.settle(ACKNOWLEDGED, stream, sequence, due_ns, asked)

    return Lane(act, window, stage.late)


def presence(stage: Stage) -> list[Lane]:
    return [
        _coming_and_going(stage, connection, stage.channels[number % len(stage.channels)], number)
        for number, connection in enumerate(stage.publishers)
    ]


def _coming_and_going(stage: Stage, connection: Connection, channel: str, number: int) -> Lane:
    stream = stage.ledger.stream(presence_of(channel))
    client = f"client-{number}"
    present = stage.present[channel]

    async def act(due_ns: int) -> None:
        enters = not present.get(client)
        present[client] = None
        sequence = stream.next()
        made = stage.body(stream, sequence, due_ns)
        do = connection.enter if enters else connection.leave
        asked = do(channel, client, made)
        if await stage.settle(PRESENCE, stream, sequence, due_ns, asked):
            present[client] = enters

    return Lane(act, 1, stage.late)


def history(stage: Stage) -> list[Lane]:
    spreading = spread(len(stage.publishers), len(stage.channels))
    return [
        _reading(stage, connection, [stage.channels[one] for one in mine])
        for connection, mine in zip(stage.publishers, spreading, strict=True)
    ]


def _reading(stage: Stage, connection: Connection, channels: list[str]) -> Lane:
    turns = cycle(channels)
    limit = stage.options.page

    async def act(due_ns: int) -> None:
        channel = next(turns)
        known = [(stream, _last_acknowledged(stream)) for stream in stage.ledger.of(channel)]
        try:
            page = await connection.history(channel, limit)
        except Unknown:
            stage.progress += 1
            return
        stage.done(HISTORY, due_ns)
        stage.ledger.check_page(channel, page, limit, known)

    return Lane(act, stage.options.window, stage.late)


def _last_acknowledged(stream: Stream) -> int:
    """-1 when none was."""
    sequences = range(stream.sent - 1, -1, -1)
    return next(filter(stream.is_acknowledged, sequences), -1)


def resume(stage: Stage) -> list[Lane]:
    return [_resuming(stage, connection) for connection in stage.subscribers]


def _resuming(stage: Stage, connection: Connection) -> Lane:
    async def act(due_ns: int) -> None:
        await connection.cut()
        await connection.resume()
        stage.done(RESUMED, due_ns)

    return Lane(act, 1, stage.late)


@dataclass(frozen=True)
class Operation:
    """what: the name of its latencies, as in a Result."""

    what: str
    needs: Ability
    lanes: Callable[[Stage], list[Lane]]


OPERATIONS = {
    "publish": Operation(ACKNOWLEDGED, "publish", publish),
    "presence": Operation(PRESENCE, "presence", presence),
    "history": Operation(HISTORY, "history", history),
    "resume": Operation(RESUMED, "resume", resume),
    "push": Operation(ACKNOWLEDGED, "push", push),
}
