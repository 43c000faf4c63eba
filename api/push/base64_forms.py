"""base64 in any of its spellings: clients send both alphabets, with and without padding."""

import binascii
from base64 import b64decode, urlsafe_b64encode

_STANDARD = str.maketrans("-_", "+/")


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64(text: str) -> bytes:
    """Raises ValueError."""
    bare = text.strip().rstrip("=").translate(_STANDARD)
    try:
        return b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, UnicodeError) as error:
        raise ValueError("not base64") from error
