"""Push as callers have it: devices, subscriptions and notifications, for any API on top.

What is sent is taken to be checked by whoever read it; what may be done was asked of
`broker.push.identity`. Secrets and addresses are sealed on the way in and opened on the way out.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar

import msgspec
import trio

from broker.channels.registry import app_prefix
from broker.push import identity, registry
from broker.push.events import Device, Selector, Subscription
from broker.push.lifetime import TTL_MS_MAX, expiry_ms
from broker.push.outbox_log import AcceptPublish
from broker.push.registration import (
    PatchDevice,
    RegisterDevice,
    RemoveDevices,
    Subscribe,
    Unsubscribe,
)
from broker.push.registry import Found
from broker.push.rows import SUBSCRIPTION, subscribers_of, subscriptions_of
from broker.push.sealing import Sealer, device_of, key_id
from broker.storage_errors import mapped
from storage import Log, View

T = TypeVar("T")


class DeviceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A device as it is to be registered."""

    id: str
    platform: str
    form_factor: str
    recipient: dict[str, Any]
    secret: str | None = None
    client_id: str | None = None
    metadata: dict[str, Any] | None = None


class Page(msgspec.Struct, Generic[T], frozen=True):
    """`next`: what to give as `after` for the page behind this one, None when it was the last."""

    items: tuple[T, ...]
    next: bytes | None


class Push:
    def __init__(self, log: Log, sealer: Sealer) -> None:
        self._log = log
        self._sealer = sealer

    def device(self, app: str, id_: str) -> Device | None:
        with mapped(), self._log.view() as view:
            return registry.device(view, app, id_)

    def recipient(self, app: str, device: Device) -> dict[str, Any]:
        """The address of a device."""
        return self._sealer.open(app, device.id, device.recipient) or {}

    def secret(self, app: str, device: Device) -> str | None:
        found = self._sealer.open(app, device.id, device.secret)
        return found if isinstance(found, str) else None

    async def register(self, app: str, spec: DeviceSpec, *, keep_identity: bool = False) -> Device:
        """Make a device, or replace it. It is given a new identity, or keeps the one it has: who
        is not told a new one must."""
        while True:
            await self._sealer.ensure(app, spec.id)
            command = RegisterDevice(app, self._sealed(app, spec), keep_identity)
            device: Device = await self._run(app, command)
            if self._sealer.open(app, device.id, device.recipient) is not None:
                return device  # else it was removed meanwhile, and its key with it

    def _sealed(self, app: str, spec: DeviceSpec) -> Device:
        return Device(
            id=spec.id,
            platform=spec.platform,
            form_factor=spec.form_factor,
            transport=str(spec.recipient.get("transportType")),
            recipient=self._sealer.seal(app, spec.id, spec.recipient),
            secret=self._sealer.seal(app, spec.id, spec.secret) if spec.secret else b"",
            client_id=spec.client_id,
            metadata=spec.metadata,
            token_id=identity.new_token_id(),
            update_token=identity.new_token_id(),
        )

    async def patch(
        self, app: str, id_: str, *, recipient: dict[str, Any] | None = None, **changes: Any
    ) -> Device:
        """Change some of a device; `changes`: client_id, metadata, update_token. Raises NotFound
        40400."""
        identity.known(self.device(app, id_))
        if recipient is not None:
            await self._sealer.ensure(app, id_)
            changes["recipient"] = self._sealer.seal(app, id_, recipient)
            changes["transport"] = str(recipient.get("transportType"))
        device: Device = await self._run(app, PatchDevice(app, id_, **changes))
        return device

    async def remove(
        self, app: str, *, device: str | None = None, client: str | None = None
    ) -> None:
        """Remove a device, those of a client, or all; with what they were subscribed to, and for
        good: what is left of them cannot be read."""
        more = True
        while more:
            with trio.CancelScope(shield=True):  # who hangs up must not leave a key behind
                ids, more = await self._run(app, RemoveDevices(app, device, client))
                # Of one that was removed before, too: its key may have outlived it.
                named = [*ids, device] if device is not None else ids
                await self._destroy({key_id(app, id_) for id_ in named})

    async def forget_strangers(self, app: str | None = None) -> None:
        """Destroy the keys of devices that are not there: of a deleted app, or, before anything
        else happens, those that a crash left."""
        known = self._sealer.ids()
        await self._destroy({id_ for id_ in known if app in (None, device_of(id_)[0])})

    async def _destroy(self, ids: set[str]) -> None:
        await self._sealer.destroy(ids, lambda id_: self.device(*device_of(id_)) is not None)

    async def subscribe(self, app: str, subscription: Subscription) -> None:
        """Raises Unauthorized 40100 where push is not enabled, NotFound for an unknown device."""
        await self._run(app, Subscribe(app, subscription))

    async def unsubscribe(
        self,
        app: str,
        *,
        channel: str | None = None,
        device: str | None = None,
        client: str | None = None,
    ) -> None:
        """Every subscription of a device or a client, or that to one channel."""
        while await self._run(app, Unsubscribe(app, channel, device, client)):
            pass

    async def publish(
        self, app: str, selector: Selector, payload: dict[str, Any], ttl_ms: int = TTL_MS_MAX
    ) -> None:
        """Accept a notification: on disk when this returns, and delivered from then on."""
        now_ms = self._log.clock.now()
        expires_ms = min(now_ms + ttl_ms, expiry_ms(payload, now_ms))
        await self._run(app, AcceptPublish(app, selector, payload, expires_ms))

    async def publish_each(
        self, app: str, notices: Sequence[tuple[Selector, dict[str, Any]]]
    ) -> None:
        """Accept notifications in one commit."""
        now_ms = self._log.clock.now()
        accepts = [
            AcceptPublish(app, selector, payload, expiry_ms(payload, now_ms))
            for selector, payload in notices
        ]
        with mapped():
            for result in await self._log.submit_all(accepts, app=app):
                if isinstance(result, Exception):
                    raise result

    async def devices(
        self, app: str, *, client: str | None = None, after: bytes = b"", limit: int
    ) -> Page[Device]:
        """Devices of an app, or of a client."""

        def walk(view: View) -> Iterator[Found[Device]]:
            if client is not None:
                return registry.client_devices(view, app, client, after)
            return registry.devices(view, app, after)

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
            prefix = SUBSCRIPTION + app_prefix(app)

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

    async def _run(self, app: str, command: Any) -> Any:
        with mapped():
            return (await self._log.submit(command, app=app)).reply
