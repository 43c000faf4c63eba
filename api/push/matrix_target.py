"""Where a Matrix push gateway is, and how it is spoken to: its URL says both.

    path is exactly /_matrix/push/v1/notify     Matrix: one notification a request
    path ends in /push/v1/ (or /push/v1)        gematik: batches, at what stands behind that base

An operator may list the allowed gateways. They may be at any address and port, also in our own
network, because the operator chose them and not a user. Without a list every URL is checked like
that of a webhook (`api.push.guard`).
"""

from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

import httpx

from api.push import target
from api.push.addresses import parsed
from api.push.guard import HTTPS_PORT, PORT_MAX, Guard, RefusedUrl, Resolver, host_of, is_name

NOTIFY_PATH = b"/_matrix/push/v1/notify"
BASE_END = b"/push/v1/"
URLS_KEPT = 1_000


class Wire(Enum):
    MATRIX = "Matrix push gateway API"
    GEMATIK = "gematik push gateway API"


class Gateway(NamedTuple):
    """url: what is asked for, or, of gematik's API, the base that ends in a slash."""

    url: str
    wire: Wire


class NotAllowed(RefusedUrl):
    """Not one of the gateways that the operator named."""


class Gateways:
    """`allowed`: host names, or hosts and ports; empty for whatever is public. Many pushers name
    few URLs, so what was read of one is remembered."""

    def __init__(
        self, allowed: Iterable[str], *, allow_loopback: bool, resolve: Resolver | None = None
    ) -> None:
        self._allowed = frozenset(host_and_port(text) for text in allowed)
        self.guard = Guard(allow_loopback=allow_loopback, resolve=resolve, trusted=self._allowed)
        self._read = lru_cache(URLS_KEPT)(self._gateway)

    def gateway(self, text: str) -> Gateway:
        """Raises RefusedUrl; NotAllowed where another operator might think otherwise."""
        return self._read(text)

    def _gateway(self, text: str) -> Gateway:
        url = self.guard.url(text)
        if self._allowed and (host_of(url), url.port or HTTPS_PORT) not in self._allowed:
            raise NotAllowed("the target is none of the gateways that may be asked")
        path, _, query = url.raw_path.partition(b"?")
        if path == NOTIFY_PATH:
            return Gateway(str(url), Wire.MATRIX)
        base = path if path.endswith(b"/") else path + b"/"
        if not base.endswith(BASE_END) or query:
            raise RefusedUrl(
                f"the target's path must be {NOTIFY_PATH.decode()}, or end in {BASE_END.decode()}"
            )
        return Gateway(target.origin(url) + base.decode("ascii"), Wire.GEMATIK)


@lru_cache(URLS_KEPT)
def endpoint(text: str) -> str:
    """For each URL a circuit of its own: one who names a wrong path on a gateway's host must not
    close the gateway to the others. Without the query, which may be secret."""
    try:
        url = httpx.URL(text)
        path = url.raw_path.partition(b"?")[0].decode("ascii")
        port = f":{url.port}" if url.port else ""
        return f"{host_of(url)}{port}{path}" if url.host else target.NOWHERE
    except (httpx.InvalidURL, UnicodeError):
        return target.NOWHERE


def host_and_port(text: str) -> tuple[str, int]:
    """Of a gateway as the operator names it. Raises ValueError."""
    try:
        url = httpx.URL(f"https://{text}")
        host, port = host_of(url), url.port or HTTPS_PORT
    except (httpx.InvalidURL, UnicodeError):
        raise ValueError(f"{text!r} is no host") from None
    is_host = is_name(host) or parsed(host) is not None
    if not is_host or port > PORT_MAX or any(mark in text for mark in "/@?#"):
        raise ValueError(f"{text!r} is no host, or host and port")
    return host, port
