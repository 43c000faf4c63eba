"""A device's address and secret, sealed with a key of its own, so that they can be erased.

The log and the rows hold ciphertext only. The key is in a file that is rewritten when the device is
removed (storage.keyfile): then what was sealed with it is noise, wherever copies of it lie.

That file has one more key, which is no device's and never destroyed. It makes the digests that
devices are found by when their address is known; without it, nobody can test a guess against them.
It also has the month keys of devices that registered encryption (broker.push.month_keys).
"""

import json
from collections.abc import Callable, Set
from hashlib import blake2b
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker import randomness
from broker.push.key_ids import ADDRESSES, key_id
from broker.push.keys import Keys
from broker.push.month_keys import DEFAULT_ZONE, MonthKeys
from storage.keyfile import KEY_BYTES, KeyFile

_NONCE_BYTES = 12
_DIGEST_BYTES = 16


class Sealer:
    """Seals and opens for the devices of one broker. `zone`: in which months begin."""

    def __init__(self, file: KeyFile, zone: str = DEFAULT_ZONE) -> None:
        self._keys = Keys(file)
        self.months = MonthKeys(self._keys, zone)
        self._of_addresses = file.get(ADDRESSES) or randomness.new_bytes(KEY_BYTES)

    async def ensure(self, app: str, device: str) -> None:
        """The device has a key, on disk, when this returns; and so has `address_digest`."""
        new = randomness.new_bytes(KEY_BYTES)
        await self._keys.ensure({ADDRESSES: self._of_addresses, key_id(app, device): new})

    async def destroy(self, ids: Set[str], used: Callable[[Set[str]], Set[str]]) -> None:
        """What was sealed with these keys cannot be opened again (see Keys.destroy)."""
        self.months.forget(await self._keys.destroy(ids, used))

    def ids(self) -> Set[str]:
        """Of every key that is a device's, those of its months too."""
        return self._keys.ids() - {ADDRESSES}

    def ids_of(self, app: str, device: str) -> Set[str]:
        return {key_id(app, device), *self.months.ids(app, device)}

    def seal(self, app: str, device: str, value: Any) -> bytes:
        """b"" where the device has no key: it was removed since `ensure`."""
        key = self._keys.get(key_id(app, device))
        if key is None:
            return b""
        nonce = randomness.new_bytes(_NONCE_BYTES)
        text = json.dumps(value, separators=(",", ":")).encode()
        return nonce + AESGCM(key).encrypt(nonce, text, key_id(app, device).encode())

    def open(self, app: str, device: str, sealed: bytes) -> Any:
        """None for what cannot be opened: the key is gone, or it was never ours."""
        key = self._keys.get(key_id(app, device))
        if key is None or not sealed:
            return None
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return json.loads(AESGCM(key).decrypt(nonce, text, key_id(app, device).encode()))
        except (InvalidTag, ValueError):
            return None

    def address_digest(self, app: str, text: str) -> bytes:
        """16 bytes, the same for the same address of the same app as long as the key file is."""
        said = f"{app}\0{text}".encode()
        return blake2b(said, digest_size=_DIGEST_BYTES, key=self._of_addresses).digest()
