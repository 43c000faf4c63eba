"""Deliveries: an attempt at one, what it says of its device, and what is written down of it.

What came of an attempt is written whatever happens: a log that is full, or busy, is asked again
until it has room; one that failed never has, and its broker ends. So who calls here waits, and
nothing that was tried is forgotten.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import trio

from broker.errors import BrokerError
from broker.messages.serials import render
from broker.push.attempts import FAILED, Attempts, Tried, standing
from broker.push.events import BEAMS, MATRIX, Attempt, Device
from broker.push.order import Turns
from broker.push.outbox_log import PublishRow, SettleDelivery
from broker.push.registration import ReportDevice
from broker.push.reports import Reports
from broker.push.service import Push
from broker.push.transport import Verdict
from broker.storage_errors import mapped
from storage import Log

LOG_RETRY_S = 1.0
logger = logging.getLogger("tidelog.push")

# Their APIs have no device that failed: it registers again, or is forgotten (push.md 5.3).
_REMOVED_WHEN_DEAD = (BEAMS, MATRIX)

Target = Device | None
"""None: the address that a notification names itself."""


def id_of(target: Target) -> str:
    return target.id if target is not None else ""


class Deliveries:
    def __init__(
        self,
        log: Log,
        push: Push,
        attempts: Attempts,
        reports: Reports,
        turns: Turns,
        series: str,
    ) -> None:
        self.by_transport: Counter[tuple[str, Verdict]] = Counter()
        self._log = log
        self._push = push
        self._attempts = attempts
        self._reports = reports
        self._turns = turns
        self._series = series

    async def attempt(self, row: PublishRow, target: Target, made: int) -> Tried:
        """`made`: how many attempts were before."""
        now_ms = self._log.clock.now()
        if target is None:
            tried = await self._attempts.to_address(row, made, now_ms)
        else:
            tried = await self._attempts.to_device(row, target, made, now_ms)
        await self._report(row, target, tried)
        return tried

    def next(self, device: str, tried: Tried) -> Attempt | None:
        """The attempt that is to be made after one."""
        if tried.again_ms is None:
            return None
        return Attempt(device, self._log.clock.now() + tried.again_ms, tried.made)

    async def settle(self, row: PublishRow, device: str, again: Attempt | None) -> None:
        """What came of a delivery that was written down as one to be tried again."""
        await self.write(row.app, SettleDelivery(row.app, row.serial, device, again))
        self._turns.happened(row.app, device)

    async def write(self, app: str, command: Any) -> None:
        await self._until_done(partial(self._submit, app, command))

    async def _report(self, row: PublishRow, device: Device | None, tried: Tried) -> None:
        """What an attempt says of its device, and then to those who look: who was told reads it."""
        self._count(row, device, tried.result.verdict)
        if device is not None:
            device = await self._reported(row.app, device, tried)
        if tried.result.verdict not in (Verdict.SENT, Verdict.TRANSIENT):
            of = render(row.serial, self._series)
            self._reports.failed(row.app, of, device, tried.result)

    def _count(self, row: PublishRow, device: Device | None, verdict: Verdict) -> None:
        """By transport, as far as there is one: what else an address names is its sender's."""
        named = device.transport if device else (row.selector.recipient or {}).get("transportType")
        self.by_transport[named if named in self._attempts.transports else "none", verdict] += 1

    async def _reported(self, app: str, device: Device, tried: Tried) -> Device:
        stands = standing(device, tried)
        if stands.state == FAILED and device.api in _REMOVED_WHEN_DEAD:
            await self._until_done(
                partial(self._push.remove, app, device=device.id, api=None, rev=device.rev)
            )
        elif stands != (device.state, device.failures, device.error):
            await self.write(app, ReportDevice(app, device.id, device.rev, *stands))
        return msgspec.structs.replace(device, state=stands.state)

    async def _submit(self, app: str, command: Any) -> None:
        with mapped():
            await self._log.submit(command, app=app)

    async def _until_done(self, write: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await write()
                return
            except BrokerError as error:
                if self._log.failed:
                    await trio.sleep_forever()
                logger.warning("not written yet, it is tried again: %s", error)
                await trio.sleep(LOG_RETRY_S)
