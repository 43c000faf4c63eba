"""One server, several APIs: which application answers a request, by its path.

Each API has an application of its own, with its own shape of errors. What none of the mounts takes
is for the first one, Ably's.
"""

from typing import NamedTuple

from quart_trio import QuartTrio

from api.application import Asgi


class Mount(NamedTuple):
    """`prefixes`: whole segments that paths of `app` begin with. `base`: one that is taken off the
    paths below it, where all of the API is, whatever Ably's own paths are."""

    app: QuartTrio
    prefixes: tuple[str, ...]
    base: str = ""


def mounted(first: Asgi, mounts: tuple[Mount, ...]) -> Asgi:
    """On paths as they were sent (api.application.on_raw_paths)."""

    async def asgi(scope: dict[str, object], receive: object, send: object) -> None:
        path = str(scope.get("path", ""))
        for mount in mounts if scope["type"] == "http" else ():
            if mount.base and _is_below(path, mount.base):
                inner = {**scope, "path": path.removeprefix(mount.base) or "/"}
                await mount.app.asgi_app(inner, receive, send)  # type: ignore[arg-type]
                return
            if any(_is_below(path, prefix) for prefix in mount.prefixes):
                await mount.app.asgi_app(scope, receive, send)  # type: ignore[arg-type]
                return
        await first(scope, receive, send)

    return asgi


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")
