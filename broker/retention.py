"""How long each stream is kept: the policy behind the log's sweep, and the task that runs it."""

import logging
from collections.abc import Callable

import trio

from broker import tenancy
from broker.events import Kind
from broker.settings import FOREVER, BrokerSettings
from storage import Log, Retention, Rows, StorageError, Stream

logger = logging.getLogger("tidelog.broker")


def retention(rows: Rows, settings: BrokerSettings, stream: Stream) -> Retention:
    """What a stream keeps. Channel, app and system streams without an entry keep everything."""
    match stream.kind:
        case Kind.MESSAGES | Kind.PRESENCE | Kind.ANNOTATIONS:
            rules = tenancy.rules(rows, stream.app, stream.channel)
            age = (
                settings.message_retention_ms if rules.retention_ms is None else rules.retention_ms
            )
            return Retention(_age(age), rules.messages_max, rules.bytes_max)
        case Kind.EPHEMERAL:
            return Retention(_age(settings.ephemeral_retention_ms))
        case Kind.ATTACHMENTS:
            return Retention(_age(settings.attachment_retention_ms))
    return Retention()


def _age(ms: int) -> int | None:
    return None if ms == FOREVER else ms


async def keep_sweeping(log: Log, settings: BrokerSettings, swept: Callable[[int], None]) -> None:
    """Trim what is past its retention, for ever; `swept` hears how many streams each round cut."""
    while not log.failed:
        await trio.sleep(settings.sweep_interval_ms / 1e3)
        try:
            swept(await sweep(log, settings))
        except StorageError:
            logger.exception("the retention sweep failed; it is tried again next time")


async def sweep(log: Log, settings: BrokerSettings) -> int:
    return await log.sweep(lambda rows, stream: retention(rows, settings, stream))
