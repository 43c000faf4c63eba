"""The keys of devices: made before what they protect is in the log, destroyed when the log has no
such device, or another address for it.

Of a device's keys these are in use: its own while it is there, and those of the key chain that its
address names (broker.push.month_keys). Which these are is looked up in the log at the moment when
the key file is written, so no key is destroyed that a device came to need meanwhile; and whoever
registered a device while its key was destroyed finds that it cannot be opened, and does it again.
"""

from collections.abc import Set

import trio

from broker.push import registry
from broker.push.events import Device
from broker.push.key_ids import device_of, of_chain
from broker.push.month_keys import Encryption, key_identifier
from broker.push.sealing import Sealer
from broker.storage_errors import mapped
from storage import Log, Rows


class DeviceKeys:
    def __init__(self, log: Log, sealer: Sealer) -> None:
        self._log = log
        self._sealer = sealer

    async def ensure(self, app: str, device: str, encryption: Encryption | None = None) -> None:
        """A device has its keys, on disk, when this returns. Raises BadRequest, Unavailable."""
        await self._sealer.ensure(app, device)
        if encryption is not None:
            now_ms = self._log.clock.now()
            await self._sealer.months.begin(app, device, encryption, now_ms)

    def opens(self, app: str, device: Device, encryption: Encryption | None = None) -> bool:
        """Whether the device has its keys; not, if it was removed since they were ensured."""
        if self._sealer.open(app, device.id, device.recipient) is None:
            return False
        months = self._sealer.months
        return encryption is None or months.has(app, device.id, encryption.key_identifier)

    async def destroy_unused(self, app: str, *devices: str) -> None:
        """Those of these devices that are not in use, and those that could not be destroyed before.
        Raises Unavailable."""
        await self._destroy({id_ for one in devices for id_ in self._sealer.ids_of(app, one)})

    async def destroy_chains(self, app: str, device: str) -> None:
        """Those of a device that is there which its address does not name. Raises Unavailable."""
        ids = self._sealer.months.ids(app, device)
        if ids and ids - self._used(ids):  # few devices have any
            await self._destroy(ids)

    async def forget_strangers(self, app: str | None = None) -> None:
        """Destroy the keys of devices that are not there: of a deleted app, or of all."""
        known = self._sealer.ids()
        await self._destroy({id_ for id_ in known if app in (None, device_of(id_)[0])})

    async def _destroy(self, ids: Set[str]) -> None:
        with trio.CancelScope(shield=True):  # who hangs up must not leave a key behind
            await self._sealer.destroy(ids, self._used)

    def _used(self, ids: Set[str]) -> Set[str]:
        """All as they are in one moment."""
        with mapped(), self._log.view() as view:
            owners = {device_of(id_) for id_ in ids}
            used = {id_ for owner in owners for id_ in self._used_by(view, *owner)}
        return ids & used

    def _used_by(self, rows: Rows, app: str, device_id: str) -> Set[str]:
        device = registry.device(rows, app, device_id)
        if device is None:
            return frozenset()
        ids = self._sealer.ids_of(app, device_id)
        if len(ids) == 1:
            return ids
        named = key_identifier(self._sealer.open(app, device_id, device.recipient) or {})
        months = self._sealer.months
        return {id_ for id_ in ids if of_chain(id_) is None or months.is_of(id_, named)}
