"""A user-supplied target: read, looked at by the guard, and named for the outbox's circuits."""

from collections.abc import Mapping
from typing import Any

import httpx

from api.push.guard import Guard, RefusedUrl, host_of
from api.push.outcome import DEAD_ADDRESS, NO_ADDRESS

NOWHERE = "nowhere"


def text(recipient: Mapping[str, Any], name: str) -> str:
    """A field that a recipient must have. Raises NotSent."""
    value = recipient.get(name)
    if not isinstance(value, str) or not value:
        raise NO_ADDRESS.because(f"{name} is missing")
    return value


def checked(guard: Guard, target: str) -> httpx.URL:
    """Raises NotSent: a target that the guard refuses for its form will never do."""
    try:
        return guard.url(target)
    except RefusedUrl as refused:
        raise DEAD_ADDRESS.because(str(refused)) from None


def origin(url: httpx.URL) -> str:
    """Scheme, host and port, the port only where it is not the scheme's (RFC 6454 6.2)."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def host_name(target: str) -> str:
    """The host of a target, for which one circuit stands; whatever the target is."""
    try:
        return host_of(httpx.URL(target)) or NOWHERE
    except (httpx.InvalidURL, UnicodeError):
        return NOWHERE
