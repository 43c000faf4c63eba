"""What of a device must be possible to erase, sealed with a key of its own: address and secret.

The log and the rows hold ciphertext only. The key is in a file that is rewritten when the device is
removed (storage.keyfile): then what was sealed with it is noise, wherever copies of it lie.
"""

import json
from typing import Any

import trio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker import randomness
from storage.keyfile import KEY_BYTES, KeyFile

_NONCE_BYTES = 12


class Sealer:
    """Seals and opens for the devices of one broker. One thread at a time uses the file."""

    def __init__(self, keys: KeyFile) -> None:
        self._keys = keys
        self._turn = trio.Lock()

    async def ensure(self, app: str, device: str) -> None:
        """The device has a key, on disk, when this returns."""
        id_ = key_id(app, device)
        async with self._turn:
            if self._keys.get(id_) is None:
                new = {id_: randomness.new_bytes(KEY_BYTES)}
                await trio.to_thread.run_sync(self._keys.create, new)

    async def destroy(self, ids: set[str]) -> None:
        """`ids`: as `key_id` makes them. What was sealed with these keys cannot be opened again."""
        async with self._turn:
            await trio.to_thread.run_sync(self._keys.destroy, ids)

    def devices(self) -> list[tuple[str, str]]:
        """(app, device) of every key."""
        return [(app, device) for app, _, device in (i.partition(":") for i in self._keys.ids())]

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


def key_id(app: str, device: str) -> str:
    return f"{app}:{device}"
