"""In which API's form the transport refuses a request: in that of the API whose path it names.

What breaks a limit is refused before any API sees it (api.refusals), but its client reads errors
as its API has them. So whatever of the request was read decides: its target, and its host where
one is a single API's (api.mounts). A request that names neither, and a connection too many, are
refused in Ably's form.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from api import refusals
from api.application import path_of
from api.beams import errors as beams_errors
from api.beams import paths as beams_paths
from api.matrix import errors as matrix_errors
from api.matrix import paths as matrix_paths
from api.mounts import bare_host, is_below
from api.settings import ServerSettings
from broker.errors import BrokerError

Body = Callable[[BrokerError], dict[str, Any]]

_BY_PREFIX: tuple[tuple[tuple[str, ...], Body], ...] = (
    (beams_paths.PREFIXES, beams_errors.body_of),
    ((matrix_paths.BASE, *matrix_paths.PREFIXES), matrix_errors.body_of),
)
_TARGET = re.compile(rb"[\r\n]*[^ \r\n]+ ([^ ?\r\n]*)")
_HOST = re.compile(rb"\nhost:[ \t]*([^\r\n]*)", re.IGNORECASE)


class Asked(NamedTuple):
    """What of a request says whose it is, as it was sent; b"" for what is not known."""

    path: bytes = b""
    host: bytes = b""


def asked_of(head: bytes) -> Asked:
    """Of a head of HTTP/1.1, which may be broken off or no head at all."""
    target, host = _TARGET.match(head), _HOST.search(head)
    return Asked(target[1] if target else b"", host[1] if host else b"")


def asked_in(scope: Mapping[str, Any]) -> Asked:
    """By a request that ASGI carries."""
    return Asked(scope["raw_path"], dict(scope["headers"]).get(b"host", b""))


def body(error: BrokerError, asked: Asked, settings: ServerSettings) -> bytes:
    form = _form(asked, settings)
    return refusals.envelope(error) if form is None else json.dumps(form(error)).encode()


def _form(asked: Asked, settings: ServerSettings) -> Body | None:
    path = path_of(asked.path)
    for prefixes, form in _BY_PREFIX:
        if any(is_below(path, prefix) for prefix in prefixes):
            return form
    hosts = {host.lower() for host in settings.matrix_hosts}
    return matrix_errors.body_of if bare_host(asked.host) in hosts else None
