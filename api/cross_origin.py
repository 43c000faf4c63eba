"""Pages of any origin may use the API and read every reply: the headers that tell browsers so.

The SDKs put their credentials into each request, and then ask the browser to send its own too. To
such a request a browser takes neither `*` for an origin nor `*` for header names, so both are
repeated from the request. That gives nothing away: there are no cookies, and our challenge is for
a Bearer, so a browser has no credentials here that the page did not already hold.

Invariant: what is repeated cannot be anything but an origin, or header names (Fetch 3.3).
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Headers = list[tuple[bytes, bytes]]
Scope = MutableMapping[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]

EXPOSED = (
    b"access-control-expose-headers",
    b"Link, Retry-After, X-Ably-ErrorCode, X-Ably-ErrorMessage, X-Request-Id",
)
# For replies to what was not read: enough for pages that do not ask with credentials.
FOR_ANYBODY: Headers = [(b"access-control-allow-origin", b"*"), EXPOSED]
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_A_DAY_S = b"86400"
_ORIGIN = re.compile(rb"[a-z][a-z0-9+.-]*://[A-Za-z0-9._~:\[\]-]+|null")
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]+")


def readable(inner: Asgi) -> Asgi:
    """An ASGI application whose every reply a browser lets the page see."""

    async def asgi(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return

        async def send_readable(message: Scope) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), *_permissions(scope)]
                message = {**message, "headers": headers}
            await send(message)

        await inner(scope, receive, send_readable)

    return asgi


def _permissions(scope: Scope) -> Headers:
    asked = dict(scope["headers"])
    headers = [(b"vary", b"Origin"), *_for_origin(asked.get(b"origin", b""))]
    if scope["method"] == "OPTIONS":
        names = asked.get(b"access-control-request-headers", b"")
        allowed = names if _NAMES.fullmatch(names) else b"*, Authorization"
        headers += [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", allowed),
            (b"access-control-max-age", _A_DAY_S),
        ]
    return headers


def _for_origin(origin: bytes) -> Headers:
    if not _ORIGIN.fullmatch(origin):
        return FOR_ANYBODY
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        EXPOSED,
    ]
