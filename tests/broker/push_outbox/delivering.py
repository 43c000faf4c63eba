"""A broker that delivers to a scripted provider, in a few words.

Waiting is for what the log says: `until` lets the writer and the hub run until it is so.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import broker
from broker.push import outbox_log, waiting
from broker.push.events import ABLY, Device, Selector, Subscription
from broker.push.lifetime import TTL_MS_MAX
from broker.push.outbox_log import PublishRow
from broker.push.service import DeviceSpec
from broker.push.waiting import Due
from broker.tenancy import NamespaceRules
from tests.broker.acting import Acting, Time
from tests.broker.push_outbox.gateway import PAYLOAD, TRANSPORT, Gateway, address

CHANNEL = "push:c"


@dataclass
class Delivering(Acting):
    gateway: Gateway = field(kw_only=True)
    time: Time = field(kw_only=True)

    async def register(
        self, name: str, endpoint: str = "e", client: str | None = None, api: str = ABLY
    ) -> Device:
        spec = DeviceSpec(
            id=name,
            platform="android",
            form_factor="phone",
            recipient=address(name, endpoint),
            client_id=client,
            api=api,
        )
        return await self.broker.push.register(self.app, spec)

    async def registered(self, *names: str, endpoint: str = "e", api: str = ABLY) -> None:
        """Devices that are subscribed to CHANNEL."""
        await self.broker.apps.set_namespace(self.app, "push", NamespaceRules(push_enabled=True))
        for name in names:
            await self.register(name, endpoint, api=api)
            await self.broker.push.subscribe(self.app, Subscription(CHANNEL, device_id=name))

    async def notify(
        self, payload: dict[str, Any] = PAYLOAD, ttl_ms: int = TTL_MS_MAX, **to: Any
    ) -> None:
        """`to`: a selector, as Selector has it."""
        await self.broker.push.publish(self.app, Selector(**to), payload, ttl_ms)

    def device(self, name: str) -> Device:
        found = self.broker.push.device(self.app, name, api=None)
        assert found is not None
        return found

    def standing(self, name: str) -> tuple[str, int]:
        found = self.device(name)
        return found.state, found.failures

    def unfinished(self) -> list[PublishRow]:
        with self.broker.rows() as rows:
            return list(outbox_log.unfinished(rows))

    def due(self) -> list[Due]:
        with self.broker.rows() as rows:
            return list(waiting.due(rows))

    def waits(self) -> dict[str, int]:
        """How many attempts were made for each who waits."""
        return {one.waiting.attempt.device: one.waiting.attempt.made for one in self.due()}

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            await self.settled()

    async def until_waits(self, **made: int) -> None:
        await self.until(lambda: self.waits() == made)

    async def until_delivered(self) -> None:
        await self.until(lambda: not self.unfinished())

    async def nothing_happens(self) -> None:
        """Whatever could be under way without any time passing has come to an end."""
        for _ in range(10):
            await self.settled()

    async def passes_until(self, is_so: Callable[[], bool]) -> None:
        """Time goes on to when the next delivery is due, and a little more where the outbox was
        still looking at the log when it went."""
        await self.settled()
        while not is_so():
            due = self.due()
            wait_ms = due[0].at_ms - self.time.wall() if due else 0
            await self.time.passes(max(wait_ms, 10), self)

    async def passes_until_tried(self, count: int) -> None:
        """So many attempts have arrived, in all."""
        await self.passes_until(lambda: len(self.gateway.got) >= count)

    async def passes_until_delivered(self) -> None:
        await self.passes_until(lambda: not self.unfinished())


@asynccontextmanager
async def delivering(path: Path, time: Time, gateway: Gateway) -> AsyncIterator[Delivering]:
    async with broker.open(path, clock=time.wall, transports={TRANSPORT: gateway}) as b:
        yield Delivering(b, gateway=gateway, time=time)
