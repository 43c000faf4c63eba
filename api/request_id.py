"""Each request has an id that the client, the reply and every log line of it share.

The client's own id counts if it is one (`X-Request-Id`, or the SDKs' `request_id` parameter;
RSC7c); anything else is replaced, never repeated: the id goes into headers and logs, and is not a
place where a client writes what it likes.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import parse_qs

from broker import randomness

HEADER = b"x-request-id"
PARAMETER = "request_id"
_VALID = re.compile(r"[A-Za-z0-9._~:@+/=-]{1,128}")
_PARAMETERS_MAX = 100

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that this task serves; None outside of one."""

Scope = MutableMapping[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]


def identified(inner: Asgi) -> Asgi:
    """An ASGI application whose every reply carries the id of its request."""

    async def asgi(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return
        chosen = choose(scope)
        request_id.set(chosen)  # for good: each request has a task, and what logs last has it too

        async def send_identified(message: Scope) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), (HEADER, chosen.encode())]
                message = {**message, "headers": headers}
            await send(message)

        await inner(scope, receive, send_identified)

    return asgi


def choose(scope: Scope) -> str:
    """The id that the client sent, the header's before the parameter's; else a new one."""
    sent: list[str] = [
        value.decode("latin-1") for name, value in scope["headers"] if name == HEADER
    ]
    for candidate in (*sent, *_parameters(scope["query_string"])):
        if _VALID.fullmatch(candidate):
            return candidate
    return randomness.new_id()


def _parameters(query_string: bytes) -> list[str]:
    try:
        query = parse_qs(query_string.decode("latin-1"), max_num_fields=_PARAMETERS_MAX)
    except ValueError:
        return []
    return query.get(PARAMETER, [])
