"""What of a device must be possible to erase, sealed with a key of its own: address and secret.

The log and the rows hold ciphertext only. The key is in a file that is rewritten when the device is
removed (storage.keyfile): then what was sealed with it is noise, wherever copies of it lie.

One more key is in that file, of no device and never destroyed: that of the digests by which a
device can be found by its address, which nobody without the key can make or test a guess with.
"""

import json
from collections.abc import Callable, Set
from hashlib import blake2b
from typing import Any

import trio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker import randomness
from broker.storage_errors import mapped
from storage.keyfile import KEY_BYTES, KeyFile

_NONCE_BYTES = 12
_DIGEST_BYTES = 16
_ADDRESSES = ":addresses"  # no app's id is empty, so it is no device's either


class Sealer:
    """Seals and opens for the devices of one broker. One thread at a time uses the file."""

    def __init__(self, keys: KeyFile) -> None:
        self._keys = keys
        self._turn = trio.Lock()
        self._going: Set[str] = frozenset()
        self._of_addresses = keys.get(_ADDRESSES) or randomness.new_bytes(KEY_BYTES)

    async def ensure(self, app: str, device: str) -> None:
        """The device has a key, on disk, when this returns; and so has `address_digest`."""
        wanted = (_ADDRESSES, key_id(app, device))
        async with self._turn:
            new = {id_: self._new_key(id_) for id_ in wanted if self._keys.get(id_) is None}
            if new:
                with mapped():
                    await trio.to_thread.run_sync(self._keys.create, new)

    async def destroy(self, ids: Set[str], is_used: Callable[[str], bool]) -> None:
        """`ids`: as `key_id` makes them. What was sealed with these keys cannot be opened again.

        `is_used` is asked last of all, and a key that goes is not to be had from then on: whoever
        put a device there meanwhile finds either that its key stays, or that it is gone.
        """
        async with self._turn:
            self._going = {id_ for id_ in ids if not is_used(id_)}
            try:
                with mapped():
                    await trio.to_thread.run_sync(self._keys.destroy, self._going)
            finally:
                self._going = frozenset()

    def ids(self) -> Set[str]:
        """Of every device's key, as `key_id` makes them."""
        return self._keys.ids() - {_ADDRESSES}

    def seal(self, app: str, device: str, value: Any) -> bytes:
        """b"" where the device has no key: it was removed since `ensure`."""
        key = self._key(app, device)
        if key is None:
            return b""
        nonce = randomness.new_bytes(_NONCE_BYTES)
        text = json.dumps(value, separators=(",", ":")).encode()
        return nonce + AESGCM(key).encrypt(nonce, text, key_id(app, device).encode())

    def open(self, app: str, device: str, sealed: bytes) -> Any:
        """None for what cannot be opened: the key is gone, or it was never ours."""
        key = self._key(app, device)
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

    def _new_key(self, id_: str) -> bytes:
        return self._of_addresses if id_ == _ADDRESSES else randomness.new_bytes(KEY_BYTES)

    def _key(self, app: str, device: str) -> bytes | None:
        id_ = key_id(app, device)
        return None if id_ in self._going else self._keys.get(id_)


def key_id(app: str, device: str) -> str:
    return f"{app}:{device}"


def device_of(id_: str) -> tuple[str, str]:
    """(app, device) of what `key_id` made."""
    app, _, device = id_.partition(":")
    return app, device
