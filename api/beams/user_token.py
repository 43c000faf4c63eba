"""Beams tokens: a JWT in which an app's server says who the user of a device is.

It is signed with the instance's secret key (HS256, nothing else); its claims are `iss`, `sub` and
`exp`. Claims are read only after the signature was found right. `iss` is always Beams' own host,
because every SDK has that built in. `exp` has no upper limit: one SDK adds its time zone to it.
"""

from collections.abc import Mapping
from typing import Any

from api import codec
from api.beams.errors import (
    BAD_ISSUER,
    BAD_SUBJECT,
    BAD_TOKEN,
    NO_EXPIRATION,
    NO_ISSUER,
    NO_SUBJECT,
    BeamsError,
    Refusal,
)
from api.beams.names import is_user
from broker.auth.json_web_tokens import signed_payload
from broker.beams.instances import Instance
from broker.errors import BadRequest, Unauthorized

ALGORITHMS = ("HS256",)
_ISSUER = "https://{id}.pushnotifications.pusher.com"


def user_of(token: str, instance: Instance, now_ms: int) -> str:
    claims = _claims(token, instance)
    expires_s = _claim(claims, "exp", (int, float), NO_EXPIRATION)
    if expires_s * 1_000 <= now_ms:
        raise BeamsError(BAD_TOKEN)
    user: str = _claim(claims, "sub", (str,), NO_SUBJECT)
    if not is_user(user):
        raise BeamsError(BAD_SUBJECT)
    issuer: str = _claim(claims, "iss", (str,), NO_ISSUER)
    if issuer.lower() != _ISSUER.format(id=instance.id):
        raise BeamsError(BAD_ISSUER)
    return user


def _claim(claims: Mapping[str, Any], name: str, kinds: tuple[type, ...], missing: Refusal) -> Any:
    value = claims.get(name)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise BeamsError(missing)
    return value


def _claims(token: str, instance: Instance) -> Mapping[str, Any]:
    try:
        claims = codec.decode_json(signed_payload(token, instance.secret, ALGORITHMS))
    except (BadRequest, Unauthorized):
        raise BeamsError(BAD_TOKEN) from None
    if not isinstance(claims, dict):
        raise BeamsError(BAD_TOKEN)
    return claims
