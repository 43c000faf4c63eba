"""`require_tls`: credentials are refused where others could read them on their way.

A request is secure that came over TLS, or that a trusted proxy says came to it over TLS
(`X-Forwarded-Proto`). What counts as credentials is whatever would identify its sender, and a
request for a token, which is answered with some. Off by default: behind a proxy, or on one machine,
plain HTTP is fine (reference 2.1).
"""

from collections.abc import Awaitable, Callable

from quart import request

from api.connection import Connection, connection_of
from api.settings import ServerSettings
from broker.errors import Unauthorized

NOT_SECURE = 40103
_IN_HEADERS = ("Authorization", "X-Ably-DeviceToken", "X-Ably-DeviceSecret")
_IN_QUERY = ("key", "access_token", "accessToken")
_KEY_ROUTES = "/keys/"


def refuse_plain(settings: ServerSettings, *, is_tls: bool, is_forwarded: bool) -> None:
    """Raises Unauthorized 40103 for credentials that came over plain HTTP."""
    if settings.require_tls and not is_tls and not is_forwarded:
        raise Unauthorized("credentials are taken over TLS only", NOT_SECURE)


def is_forwarded(connection: Connection, proto: str | None) -> bool:
    """Whether a trusted proxy says that it was reached over TLS; only those have no address."""
    return not connection.address and (proto or "").strip().lower() in ("https", "wss")


def checked(settings: ServerSettings) -> Callable[[], Awaitable[None]]:
    """What looks at every request before its route."""

    async def check() -> None:
        if _carries_credentials():
            proto = request.headers.get("X-Forwarded-Proto")
            refuse_plain(
                settings,
                is_tls=request.scheme == "https",
                is_forwarded=is_forwarded(connection_of(request.scope), proto),
            )

    return check


def _carries_credentials() -> bool:
    return (
        any(name in request.headers for name in _IN_HEADERS)
        or any(name in request.args for name in _IN_QUERY)
        or request.path.startswith(_KEY_ROUTES)
    )
