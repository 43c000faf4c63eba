"""Native tokens inside a JWT (`x-ably-token`), for clients whose app server answers with a JWT.

The token is in the JOSE header of a signed or encrypted JWT, or among the claims of a signed one.
The JWT is only its envelope and may be signed by anyone, with any algorithm: what is inside carries
its own proof. The envelope may end it sooner, never later.

Refuses to do: verify anything, or look into a JWT inside a JWT.
"""

import binascii
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from broker.auth.credentials import TOKEN_CHARS_MAX

FIELD = "x-ably-token"
_SIGNED, _ENCRYPTED = 3, 5  # segments: of a JWS, of a JWE
_decode = msgspec.json.Decoder().decode


class Embedded(NamedTuple):
    """`token`: whatever the field held. `expires`: the claim `exp` of the envelope, if it has one
    that can be read."""

    token: object
    expires: object = None

    def __repr__(self) -> str:
        return "<Embedded>"


def embedded(text: str) -> Embedded | None:
    """What a JWT carries, None if it carries nothing or is no JWT."""
    segments = text.split(".")
    if len(text) > TOKEN_CHARS_MAX or len(segments) not in (_SIGNED, _ENCRYPTED):
        return None
    header = _object(segments[0])
    claims = _object(segments[1]) if len(segments) == _SIGNED else {}
    for fields in (header, claims):
        if fields.get(FIELD) is not None:
            return Embedded(fields[FIELD], claims.get("exp"))
    return None


def _object(segment: str) -> Mapping[str, Any]:
    """The JSON object in a segment; an empty one for anything else."""
    try:
        value = _decode(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
