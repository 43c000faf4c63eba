"""Push as callers have it: devices, subscriptions and notifications, for any API on top.

Whoever read a request has checked that it makes sense, and asked `broker.push.identity` whether it
may be done. Secrets and addresses are sealed on the way in and opened on the way out.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import trio

from broker.errors import BadRequest, NotFound, Overloaded
from broker.push import identity, notice, registry
from broker.push.device_keys import DeviceKeys
from broker.push.events import ABLY, Device, Following, Selector, Subscription
from broker.push.lifetime import TTL_MS_MAX, expiry_ms
from broker.push.lists import Lists
from broker.push.month_keys import Encryption
from broker.push.outbox_log import AcceptPublish, ReportEvent
from broker.push.registration import (
    IDENTITY,
    OWNER,
    AddressMoved,
    AddressTaken,
    BindUser,
    OnTaken,
    PatchDevice,
    RegisterDevice,
    Registered,
)
from broker.push.removal import Removed, RemoveDevices
from broker.push.sealing import Sealer
from broker.push.subscriptions import Subscribe, Unsubscribe
from broker.push.topics import Topics
from broker.storage_errors import mapped
from storage import Log

_NOT_TAKEN = (BadRequest, NotFound, Overloaded)


class DeviceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A device as it is to be registered. `address`: text that others with the same address have
    too, and that it is found by; empty where nobody looks. `topics` of a `space`: what a new one is
    subscribed to from the start."""

    id: str
    platform: str
    form_factor: str
    recipient: dict[str, Any]
    secret: str | None = None
    client_id: str | None = None
    metadata: dict[str, Any] | None = None
    api: str = ABLY
    address: str = ""
    topics: tuple[str, ...] = ()
    space: str = ""


def _transport(recipient: Mapping[str, Any]) -> str:
    return str(recipient.get("transportType"))


class Push:
    """`topics`: what devices are subscribed to beside channels. `lists`: of all there is."""

    def __init__(self, log: Log, sealer: Sealer, default_app: Callable[[], str]) -> None:
        self.topics = Topics(log)
        self.lists = Lists(log)
        self._log = log
        self._sealer = sealer
        self._keys = DeviceKeys(log, sealer)
        self._default_app = default_app

    async def __call__(
        self,
        payload: dict[str, Any],
        *,
        app: str | None = None,
        device_id: str | None = None,
        client_id: str | None = None,
        channel: str | None = None,
        matrix_channel: str | None = None,
    ) -> None:
        """Notify a device, a client's devices, the subscribers of a channel, or the Matrix pushers
        that have a channel enabled: all, or a client's. `payload`: as `POST /push/publish` takes it
        beside the recipient. On disk when this returns. Raises BadRequest."""
        selector = notice.selector(device_id, client_id, channel, matrix_channel)
        notice.check(payload)
        await self.publish(app or self._default_app(), selector, payload)

    def device(self, app: str, id_: str, api: str | None = ABLY) -> Device | None:
        """A device of an API, or of any."""
        with mapped(), self._log.view() as view:
            found = registry.device(view, app, id_)
        return found if found is not None and api in (None, found.api) else None

    def derived_id(self, app: str, text: str) -> str:
        """An id that says nothing of the text it is made of, and is the same every time."""
        return self._sealer.address_digest(app, text).hex()

    async def addressed(self, app: str, address: str) -> list[Device]:
        """The devices that were registered with this text as their address."""
        digest = self._sealer.address_digest(app, address)
        with mapped():
            return await self._log.query(lambda view: list(registry.addressed(view, app, digest)))

    def recipient(self, app: str, device: Device) -> dict[str, Any]:
        """The address of a device."""
        return self._sealer.open(app, device.id, device.recipient) or {}

    def secret(self, app: str, device: Device) -> str | None:
        found = self._sealer.open(app, device.id, device.secret)
        return found if isinstance(found, str) else None

    async def register(
        self,
        app: str,
        spec: DeviceSpec,
        *,
        keep: tuple[str, ...] = (),
        on_taken: OnTaken = OnTaken.SHARE,
        is_known: bool = False,
        limit: int | None = None,
        encryption: Encryption | None = None,
    ) -> Device:
        """Make a device, or replace it. `keep`: what stays of the one that is there; who is not
        told a new IDENTITY must keep it. `is_known`: it is there, with this address. `limit`: how
        many like it its client may have. `encryption`: of an address that names its key chain;
        without, the device has none any more. Raises AnotherApis, AddressTaken, AddressMoved,
        TooManyDevices, TooManyShare."""

        def command() -> RegisterDevice:
            sealed = self._sealed(app, spec)
            return RegisterDevice(
                app, sealed, keep, on_taken, is_known, limit, spec.topics, spec.space
            )

        return await self._with_keys(app, spec.id, command, encryption)

    async def _with_keys(
        self,
        app: str,
        id_: str,
        command: Callable[[], RegisterDevice | PatchDevice],
        encryption: Encryption | None = None,
    ) -> Device:
        """Carry out a command with an address that is sealed with the device's key."""
        while True:
            with trio.CancelScope(shield=True):  # who hangs up must not leave a key behind
                try:
                    await self._keys.ensure(app, id_, encryption)
                    device = await self._written(app, command())
                except _NOT_TAKEN:  # after anything else it may be there all the same
                    await self._keys.destroy_unused(app, id_)
                    raise
            if self._keys.opens(app, device, encryption):
                return device  # else it was removed meanwhile, and its key with it

    async def register_address(self, app: str, spec: DeviceSpec) -> Device:
        """The device of this API that has this address, with what is new of it, or a new one. It
        stays whose it is. Of two who register an address at once, one is told the other's device.
        """
        while True:
            holders = await self.addressed(app, spec.address)
            known = next((one.id for one in holders if one.api == spec.api), None)
            with suppress(AddressTaken, AddressMoved):  # since it was looked for
                return await self.register(
                    app,
                    msgspec.structs.replace(spec, id=known or spec.id),
                    keep=(*IDENTITY, *OWNER),
                    on_taken=OnTaken.REPLACE if known else OnTaken.REFUSE,
                    is_known=known is not None,
                )

    async def _written(self, app: str, command: RegisterDevice | PatchDevice) -> Device:
        done: Registered = await self._run(app, command)
        if done.replaced:
            await self._keys.destroy_unused(app, *done.replaced)
        await self._keys.destroy_chains(app, done.device.id)  # of the address of before
        return done.device

    def _sealed(self, app: str, spec: DeviceSpec) -> Device:
        return Device(
            id=spec.id,
            platform=spec.platform,
            form_factor=spec.form_factor,
            transport=_transport(spec.recipient),
            recipient=self._sealer.seal(app, spec.id, spec.recipient),
            secret=self._sealer.seal(app, spec.id, spec.secret) if spec.secret else b"",
            client_id=spec.client_id,
            metadata=spec.metadata,
            token_id=identity.new_token_id(),
            update_token=identity.new_token_id(),
            api=spec.api,
            address=self._address(app, spec.address),
        )

    def _address(self, app: str, text: str) -> bytes:
        return self._sealer.address_digest(app, text) if text else b""

    async def patch(
        self,
        app: str,
        id_: str,
        *,
        recipient: dict[str, Any] | None = None,
        address: str = "",
        **changes: Any,
    ) -> Device:
        """Change some of a device; `changes`: client_id, metadata, update_token, on_taken. Raises
        NotFound 40400."""
        if recipient is None:
            return await self._written(app, PatchDevice(app, id_, **changes))
        identity.known(self.device(app, id_, api=None))

        def command() -> PatchDevice:
            return PatchDevice(
                app,
                id_,
                recipient=self._sealer.seal(app, id_, recipient),
                transport=_transport(recipient),
                address=self._address(app, address),
                **changes,
            )

        return await self._with_keys(app, id_, command)

    async def bind(self, app: str, id_: str, user: str, limit: int) -> None:
        """Make a device a user's. Raises NotFound, AlreadyBound, TooManyDevices."""
        await self._run(app, BindUser(app, id_, user, limit))

    async def remove(
        self,
        app: str,
        *,
        device: str | None = None,
        client: str | None = None,
        api: str | None = ABLY,
        rev: int | None = None,
        until_ms: int | None = None,
    ) -> None:
        """Remove a device (while it has its address `rev`), those of a client, or all, of an API or
        of any, but none that was changed after `until_ms`; with what they were subscribed to, and
        for good: what is left of them cannot be read."""
        place: bytes | None = b""
        while place is not None:
            command = RemoveDevices(app, device, client, api, rev, until_ms, place)
            with trio.CancelScope(shield=True):  # who hangs up must not leave a key behind
                removed: Removed = await self._run(app, command)
                # Of one that was removed before, too: its key may have outlived it.
                named = (*removed.ids, device) if device is not None else removed.ids
                await self._keys.destroy_unused(app, *named)
            place = removed.next

    async def forget_strangers(self, app: str | None = None) -> None:
        """Destroy the keys of devices that are not there: of a deleted app, or, before anything
        else happens, those that a crash left."""
        await self._keys.forget_strangers(app)

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

    async def report(
        self,
        app: str,
        publish: str,
        device: str,
        what: str,
        at_ms: int,
        following: Sequence[Following] = (),
    ) -> None:
        """A device says what became of a notification. What it said before changes nothing."""
        await self._run(app, ReportEvent(app, publish, device, what, at_ms, tuple(following)))

    async def publish(
        self,
        app: str,
        selector: Selector,
        payload: dict[str, Any],
        ttl_ms: int = TTL_MS_MAX,
        following: Sequence[Following] = (),
        beside: Sequence[Following] = (),
        cost: int = 256,
    ) -> None:
        """Accept a notification: on disk when this returns, and delivered from then on.
        `following`: what is published when everybody has been tried once; `beside`: what is at
        once. `cost`: the bytes of it all, about."""
        self._check_channels(app, [selector])
        now_ms = self._log.clock.now()
        expires_ms = min(now_ms + ttl_ms, expiry_ms(payload, now_ms))
        command = AcceptPublish(app, selector, payload, expires_ms, tuple(following), tuple(beside))
        await self._run(app, command, cost)

    async def publish_each(
        self, app: str, notices: Sequence[tuple[Selector, dict[str, Any]]]
    ) -> None:
        """Accept notifications in one commit, or none."""
        self._check_channels(app, [selector for selector, _ in notices])
        now_ms = self._log.clock.now()
        accepts = [
            AcceptPublish(app, selector, payload, expiry_ms(payload, now_ms))
            for selector, payload in notices
        ]
        with mapped():
            for result in await self._log.submit_all(accepts, app=app):
                if isinstance(result, Exception):
                    raise result

    def _check_channels(self, app: str, selectors: Sequence[Selector]) -> None:
        with mapped(), self._log.view() as view:
            notice.check_channels(view, app, selectors)

    async def _run(self, app: str, command: Any, cost: int = 256) -> Any:
        with mapped():
            return (await self._log.submit(command, app=app, cost=cost)).reply
