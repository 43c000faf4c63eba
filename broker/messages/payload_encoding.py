"""Payloads in the form they are stored in, and in the form that each wire format wants.

Formats differ in one thing only, binary. JSON carries bytes as base64 text and says so at the end
of `encoding`; MessagePack carries them as they are.

Canonical stored form: bytes are bytes. A string whose encoding ends in `base64` is decoded when it
arrives and that component dropped, provided that encoding it again would give the same characters;
so both kinds of client get their own form, and a JSON client gets back exactly what was sent.
Base64 that decodes but is written differently (unpadded, URL-safe, wrapped) stays a string with its
encoding, is returned to JSON clients untouched, and is decoded for MessagePack clients as it
leaves.

Refuses to do: look into any other encoding; they are opaque, whatever they say (RSL4, RSL6).
"""

import base64
import binascii
from collections.abc import Mapping

from broker.errors import BadRequest
from broker.messages.message import INVALID_DATA, encode_payload

_URL_SAFE_TO_STANDARD = str.maketrans("-_", "+/", " \t\r\n")


def stored_payload(data: object, encoding: str | None) -> tuple[str | bytes | None, str | None]:
    """Payload and encoding in the canonical stored form, from either wire format.

    Raises BadRequest 40013 for base64 that is none, and as `encode_payload`.
    """
    if encoding is None and isinstance(data, str | bytes):
        return data, None
    outer, is_base64 = _strip_base64(encoding)
    if is_base64 and isinstance(data, str):
        decoded = _lenient_base64(data)
        if decoded is None:
            raise BadRequest("data is not the base64 that encoding says it is", INVALID_DATA)
        return (decoded, outer) if _base64(decoded) == data else (data, encoding)
    if is_base64 and isinstance(data, Mapping | list | tuple):
        raise BadRequest("data with a base64 encoding must be a string or binary", INVALID_DATA)
    return encode_payload(data, encoding)


def text_payload(data: str | bytes | None, encoding: str | None) -> tuple[str | None, str | None]:
    """For JSON: bytes as base64, which their encoding then ends in (RSL4d1)."""
    if not isinstance(data, bytes):
        return data, encoding
    return _base64(data), f"{encoding}/base64" if encoding else "base64"


def binary_payload(
    data: str | bytes | None, encoding: str | None
) -> tuple[str | bytes | None, str | None]:
    """For MessagePack: base64 that was kept as it was written is decoded now (RSL4c1)."""
    if encoding is None:
        return data, None
    outer, is_base64 = _strip_base64(encoding)
    if is_base64 and isinstance(data, str):
        decoded = _lenient_base64(data)
        if decoded is not None:
            return decoded, outer
    return data, encoding


def _strip_base64(encoding: str | None) -> tuple[str | None, bool]:
    """(what was applied before, whether the last encoding applied is base64) (RSL4b)."""
    outer, _, last = (encoding or "").rpartition("/")
    return (outer or None, True) if last == "base64" else (encoding, False)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _lenient_base64(text: str) -> bytes | None:
    """The bytes of base64 in any spelling that SDKs read: wrapped, unpadded, either alphabet."""
    standard = text.translate(_URL_SAFE_TO_STANDARD).rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
