"""Filling a data directory fast: many publishes in one commit, several commits in flight."""

from collections.abc import Sequence
from pathlib import Path

import trio

import broker
from bench.acknowledged import Wrong, payload
from broker import Broker, Message
from broker.messages.publishing import Publish

_COMMANDS = 200
_MESSAGES = 5  # of one publish
_IN_FLIGHT = 4


async def fill(opened: Broker, channels: Sequence[str], messages: int) -> None:
    """Publish `messages` messages, in turn to each channel; each in arrays of a few. The number in
    a message counts from 0 on its channel when there is one channel."""
    commands = _commands(opened.default_app(), channels, messages)
    rest = iter([commands[at : at + _COMMANDS] for at in range(0, len(commands), _COMMANDS)])

    async def worker() -> None:
        for some in rest:
            for result in await opened.log.submit_all(some, app=some[0].app):
                if isinstance(result, Exception):
                    raise result

    async with trio.open_nursery() as nursery:
        for _ in range(_IN_FLIGHT if len(channels) > 1 else 1):
            nursery.start_soon(worker)


def _commands(app: str, channels: Sequence[str], messages: int) -> list[Publish]:
    """A tenth of the messages have ids of their publishers' own: they have a dedup row."""
    commands: list[Publish] = []
    for number, first in enumerate(range(0, messages, _MESSAGES)):
        numbers = range(first, min(first + _MESSAGES, messages))
        group = tuple(Message(id=f"fill-{n}", data=payload(n)) for n in numbers)
        channel = channels[number % len(channels)]
        commands.append(Publish(app, channel, group, keyed=number % 10 == 0))
    return commands


async def directory(path: Path, channels: int, messages: int) -> None:
    """A data directory with that many messages in that many channels, closed again."""
    async with broker.open(path) as opened:
        await fill(opened, [f"bench:{number}" for number in range(channels)], messages)
        if opened.log.metrics.records < messages:
            raise Wrong("the directory was not filled")
