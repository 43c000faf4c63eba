"""Randomness, in one place: ids and secrets. Domain code takes what it needs as an argument."""

import secrets

_ID_BYTES = 9
_SECRET_BYTES = 24


def new_id() -> str:
    """12 URL-safe characters without `.`, `:`, `!`, `,` (reference: 3.4)."""
    return secrets.token_urlsafe(_ID_BYTES)


def app_id() -> str:
    """6 characters, as short as an app id of the real service; letters and digits only."""
    return "".join(secrets.choice(_READABLE) for _ in range(6))


def new_secret() -> str:
    """192 bits, URL-safe."""
    return secrets.token_urlsafe(_SECRET_BYTES)


_READABLE = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
