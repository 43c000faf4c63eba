"""What an app does that registered encryption: derives the keys, opens the notifications.

Written from the published concept, without what the broker uses: HMAC instead of a library's HKDF,
GCM from its parts.
"""

import hashlib
import hmac
from base64 import b64decode
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

GENERATIONS_MAX = 100


def derived(secret: bytes, month: str) -> tuple[bytes, bytes]:
    """The secret for the month behind it, and this month's key (RFC 5869)."""
    extracted = hmac.digest(bytes(32), secret, hashlib.sha256)
    one = hmac.digest(extracted, month.encode() + b"\1", hashlib.sha256)
    two = hmac.digest(extracted, one + month.encode() + b"\2", hashlib.sha256)
    return one, two


def opened(key: bytes, ciphertext: str) -> bytes:
    """Raises InvalidTag for what is not of this key."""
    raw = b64decode(ciphertext, validate=True)
    nonce, text, tag = raw[:12], raw[12:-16], raw[-16:]
    decryptor = Cipher(algorithms.AES(key), modes.GCM(nonce, tag)).decryptor()
    plain = decryptor.update(text) + decryptor.finalize()
    assert len(plain) == 1_024
    assert plain[:4] == b"PNM1"
    spaces = int.from_bytes(plain[4:6], "big")
    assert plain[6 : 6 + spaces] == b" " * spaces
    return plain[6 + spaces :]


@dataclass
class Phone:
    """iss, month: what it registered."""

    iss: bytes
    month: str

    def key(self, month: str) -> bytes:
        secret, at = self.iss, self.month
        for _ in range(GENERATIONS_MAX):
            secret, key = derived(secret, at)
            if at == month:
                return key
            year, number = int(at[:4]), int(at[5:])
            at = f"{year}-{number + 1:02}" if number < 12 else f"{year + 1}-01"
        raise AssertionError(f"{month} is never reached")
