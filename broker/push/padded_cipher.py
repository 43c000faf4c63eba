"""AES-256-GCM of a text that is padded first: every message has the same length (gematik).

    "PNM1" | length of the padding 2 | spaces | the text        1,024 bytes
    base64(nonce 12 | ciphertext 1,024 | tag 16)                1,404 characters

So nobody who carries it learns from the length what was said. Refuses, with TooLong, a text that
does not fit.
"""

import struct
from base64 import b64encode

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker import randomness

PADDED_BYTES = 1_024
_MAGIC = b"PNM1"
_LENGTH = struct.Struct(">H")
TEXT_BYTES_MAX = PADDED_BYTES - len(_MAGIC) - _LENGTH.size
_NONCE_BYTES = 12


class TooLong(ValueError):
    """A text of more than TEXT_BYTES_MAX bytes."""


def padded(text: bytes) -> bytes:
    """Raises TooLong."""
    spaces = TEXT_BYTES_MAX - len(text)
    if spaces < 0:
        raise TooLong(f"longer than {TEXT_BYTES_MAX} bytes")
    return _MAGIC + _LENGTH.pack(spaces) + b" " * spaces + text


def encrypted(key: bytes, text: bytes) -> str:
    """A new nonce each time: with the same key 2^32 messages are safe. Raises TooLong."""
    nonce = randomness.new_bytes(_NONCE_BYTES)
    return b64encode(nonce + AESGCM(key).encrypt(nonce, padded(text), None)).decode("ascii")
