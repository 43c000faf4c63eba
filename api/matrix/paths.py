"""The paths of each operation: Matrix's own, and those that gematik's texts and servers have had
(reference push.md 2.2).

A pushkey in a path is percent-encoded, except perhaps its slashes: it is the rest of the path.
`/channels/v1` is always the list of channels, even if there is a pushkey `v1`.
"""

from urllib.parse import unquote_to_bytes

from quart import Quart
from werkzeug.routing import BaseConverter

PUSHERS = (
    "/_matrix/client/v3/pushers",
    "/_matrix/client/r0/pushers",
    "/pushers",
    "/pushers/v1",
    "/push/v1/pushers",
)
SET_PUSHER = tuple(f"{path}/set" for path in PUSHERS)
CHANNELS = ("/channels", "/channels/v1", "/push/v1/channels")
DEVICE_CHANNELS = (
    "/channels/<unversioned:pushkey>",
    "/channels/v1/<pushkey:pushkey>",
    "/push/v1/channels/<pushkey:pushkey>",
)
VERSIONS = "/_matrix/client/versions"

# Those that Ably's API does not have are served on every host. All are served below BASE, and on
# hosts that are only for this API.
PREFIXES = ("/_matrix/client", "/pushers", "/push/v1/pushers", "/push/v1/channels")
BASE = "/matrix"


class PushkeyConverter(BaseConverter):
    """The rest of a path, whatever it begins with."""

    part_isolating = False
    regex = ".+"
    weight = 300


class UnversionedConverter(PushkeyConverter):
    """The same, where a version might come first."""

    regex = "(?!v1(?:/|$)).+"


def add_converters(app: Quart) -> None:
    app.url_map.converters.update(pushkey=PushkeyConverter, unversioned=UnversionedConverter)


def pushkey_of(raw: str) -> str | None:
    """As it was before it was encoded; None for what is no text."""
    try:
        return unquote_to_bytes(raw.encode("latin-1")).decode()
    except UnicodeError:
        return None
