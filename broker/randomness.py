"""Randomness, in one place: ids and secrets. Domain code takes what it needs as an argument."""

import secrets
from base64 import urlsafe_b64encode

_ID_BYTES = 9
_BLOCK_BYTES = 4_096
_SECRET_BYTES = 24


def new_id() -> str:
    """12 URL-safe characters without `.`, `:`, `!`, `,` (reference: 3.4)."""
    return urlsafe_b64encode(_pool.take(_ID_BYTES)).decode()


class _Pool:
    """Random bytes drawn in blocks: a call into the kernel gives up the interpreter lock, which on
    a busy broker costs more than the bytes."""

    def __init__(self) -> None:
        self._bytes = b""
        self._used = 0

    def take(self, count: int) -> bytes:
        if self._used + count > len(self._bytes):
            self._bytes, self._used = secrets.token_bytes(_BLOCK_BYTES), 0
        self._used += count
        return self._bytes[self._used - count : self._used]


_pool = _Pool()


def short_id() -> str:
    """6 letters and digits: an app or a key, as short as those of the real service."""
    return "".join(secrets.choice(_READABLE) for _ in range(6))


def new_bytes(count: int) -> bytes:
    """For keys, and for nonces of ciphers."""
    return secrets.token_bytes(count)


def jitter() -> float:
    """Somewhere from 0 to 1: so that who failed together does not come back together."""
    return secrets.randbelow(1 << 20) / (1 << 20)


def new_secret() -> str:
    """192 bits, URL-safe."""
    return secrets.token_urlsafe(_SECRET_BYTES)


_READABLE = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
