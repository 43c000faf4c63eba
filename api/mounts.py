"""One server, several APIs: which application answers a request, by its path, and by its host.

Each API has an application of its own, with its own shape of errors. What no mount takes goes to
the first application, Ably's. Paths win over hosts. The host is what the request names (`Host`,
`:authority`); `X-Forwarded-Host` is not read.
"""

from collections.abc import Iterable
from typing import NamedTuple

from quart_trio import QuartTrio

from api.application import Asgi


class Mount(NamedTuple):
    """`prefixes`: of the paths that `app` has on every host, in whole segments. `base`: a prefix
    below which all of its paths are, and which it does not see. `hosts`: on which all paths are
    its own, except those of other mounts."""

    app: QuartTrio
    prefixes: tuple[str, ...]
    base: str = ""
    hosts: tuple[str, ...] = ()


def mounted(first: Asgi, mounts: tuple[Mount, ...]) -> Asgi:
    """On paths as they were sent (api.application.on_raw_paths)."""
    by_host = {host.lower(): mount for mount in mounts for host in mount.hosts}

    async def asgi(scope: dict[str, object], receive: object, send: object) -> None:
        path = str(scope.get("path", ""))
        mount = _by_path(path, mounts) if scope["type"] == "http" else None
        if mount is None and by_host and scope["type"] == "http":
            mount = by_host.get(_host(scope["headers"]))  # type: ignore[arg-type]
        if mount is None:
            await first(scope, receive, send)
            return
        if mount.base and is_below(path, mount.base):
            scope = {**scope, "path": path.removeprefix(mount.base) or "/"}
        await mount.app.asgi_app(scope, receive, send)  # type: ignore[arg-type]

    return asgi


def _by_path(path: str, mounts: tuple[Mount, ...]) -> Mount | None:
    for mount in mounts:
        prefixes = (mount.base, *mount.prefixes) if mount.base else mount.prefixes
        if any(is_below(path, prefix) for prefix in prefixes):
            return mount
    return None


def is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")


def _host(headers: Iterable[tuple[bytes, bytes]]) -> str:
    return bare_host(dict(headers).get(b"host", b""))


def bare_host(host: bytes) -> str:
    """Without the port; "" for none."""
    named = host.decode("latin-1").lower()
    bare, colon, port = named.rpartition(":")
    return bare if colon and port.isdigit() else named
