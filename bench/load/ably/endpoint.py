"""Where an Ably endpoint is, and how its key is shown to it."""

import ssl
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import trio

from bench.load.options import BadOption
from bench.realtime.frames import JSON, MSGPACK, Format

_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_TLS = ("https", "wss")

Spoken = Literal["json", "msgpack"]


@dataclass(frozen=True)
class Endpoint:
    """context: None is no TLS. keeps: all that is published, for longer than a run."""

    host: str
    port: int
    key: str
    context: ssl.SSLContext | None = None
    format: Format = JSON
    keeps: bool = True

    @property
    def authorization(self) -> str:
        return f"Basic {b64encode(self.key.encode()).decode()}"

    async def open(self) -> trio.abc.Stream:
        """Raises OSError, ssl.SSLError, trio.BrokenResourceError."""
        stream = await trio.open_tcp_stream(self.host, self.port)
        if self.context is None:
            return stream
        secure = trio.SSLStream(
            stream, self.context, server_hostname=self.host, https_compatible=True
        )
        try:
            await secure.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secure


def endpoint(
    url: str,
    key: str,
    *,
    ca: Path | None = None,
    spoken: Spoken = "json",
    keeps: bool = True,
) -> Endpoint:
    """url: http(s)://host[:port], ws(s):// is the same. ca: trusted besides the system's own.
    Raises BadOption."""
    parts = urlsplit(url)
    try:
        port = _PORTS.get(parts.scheme) and (parts.port or _PORTS[parts.scheme])
    except ValueError as error:
        raise BadOption(f"--url {url}: {error}") from error
    if port is None or not parts.hostname or parts.path.strip("/") or parts.query:
        raise BadOption(f"--url takes http://HOST:PORT or https://HOST:PORT, not {url!r}")
    if key.count(":") != 1 or "." not in key:
        raise BadOption("--key takes an API key: appId.keyId:secret")
    context = _context(ca) if parts.scheme in _TLS else None
    coding = MSGPACK if spoken == "msgpack" else JSON
    return Endpoint(parts.hostname, port, key, context, coding, keeps)


def _context(ca: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca is not None:
        try:
            context.load_verify_locations(ca)
        except (OSError, ssl.SSLError) as error:
            raise BadOption(f"--ca {ca}: {error}") from error
    return context
