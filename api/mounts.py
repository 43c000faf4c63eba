"""One server, several APIs: which application answers a request, by its path, and by its host.

Each API has an application of its own, with its own shape of errors. What none of the mounts takes
is for the first one, Ably's. The host is the one that the client named (`Host`, `:authority`): what
a proxy says of another is not looked at.
"""

from collections.abc import Iterable
from typing import NamedTuple

from quart_trio import QuartTrio

from api.application import Asgi


class Mount(NamedTuple):
    """`prefixes`: whole segments that paths of `app` begin with. `base`: one that is taken off the
    paths below it, where all of the API is, whatever Ably's own paths are. `hosts`: names of this
    server whose paths are all of this API, but for those that another has as prefixes."""

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
