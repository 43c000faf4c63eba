"""Devices, channels and subscriptions as lists, a page at a time."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Generic, TypeVar

import msgspec

from broker.channels.registry import app_prefix
from broker.push import registry
from broker.push.events import ABLY, Device, Subscription
from broker.push.registry import Found
from broker.push.rows import TARGET, subscribers_of, subscriptions_of
from broker.storage_errors import mapped
from storage import Log, View

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """`next`: what to give as `after` for the page behind this one, None when it was the last."""

    items: tuple[T, ...]
    next: bytes | None


class Lists:
    def __init__(self, log: Log) -> None:
        self._log = log

    async def devices(
        self,
        app: str,
        *,
        client: str | None = None,
        after: bytes = b"",
        limit: int,
        api: str | None = ABLY,
    ) -> Page[Device]:
        """Devices of an app, or of a client; of an API, or of any."""

        def walk(view: View) -> Iterator[Found[Device]]:
            if client is not None:
                return registry.client_devices(view, app, client, after, api)
            return registry.devices(view, app, after, api)

        return await self._page(walk, limit)

    async def channels(self, app: str, *, after: bytes = b"", limit: int) -> Page[str]:
        """Channels that have subscriptions, by name."""
        return await self._page(lambda view: registry.channels(view, app, after), limit)

    async def subscriptions(
        self,
        app: str,
        *,
        channel: str | None = None,
        device: str | None = None,
        client: str | None = None,
        after: bytes = b"",
        limit: int,
    ) -> Page[Subscription]:
        """Of a device or a client, of a channel, of both, or all."""
        if device is not None or client is not None:
            prefix = subscriptions_of(app, device=device, client=client)
        elif channel is not None:
            prefix = subscribers_of(app, channel)
        else:
            prefix = TARGET + app_prefix(app)  # which other spaces' topics have no rows in

        def walk(view: View) -> Iterator[Found[Subscription]]:
            for found in registry.subscriptions(view, prefix, after):
                if channel is None or found.value.channel == channel:
                    yield found

        return await self._page(walk, limit)

    async def _page(self, walk: Callable[[View], Iterator[Found[T]]], limit: int) -> Page[T]:
        def ask(view: View) -> Page[T]:
            found = list(islice(walk(view), limit + 1))
            items = tuple(one.value for one in found[:limit])
            return Page(items, found[limit - 1].place if len(found) > limit else None)

        with mapped():
            return await self._log.query(ask)
