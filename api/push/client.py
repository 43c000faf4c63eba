"""One HTTP client per kind of gateway: every request is bounded, and answered with a Reply.

Owns the deadline of a request, the bound on its reply, and what network trouble is called. The
deadline covers all of it: waiting for a connection, name, TCP, TLS, request and reply; a write that
has begun may take `network.WRITE_S` longer. Redirects
are not followed, cookies not kept, the environment not read.

Fault model: whatever a gateway or the network does becomes NotSent, with a result that is
TRANSIENT. Nobody else's exception text enters a result,
for URLs of gateways are addresses of people: they are as secret as tokens.

httpx logs the URL of every request, and hpack every header. Both are told not to.
"""

import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Protocol

import httpx
import trio

from api.push.guard import RefusedAddress
from api.push.network import Addresses, Backend, Network
from api.push.outcome import UNAVAILABLE
from api.push.reply import Reply

REPLY_BYTES_MAX = 64 * 1024
SILENCE_SHARE = 0.9  # of the deadline: so that who waited longest sees that the connection is dead
_TELLTALES = ("httpx", "httpcore", "hpack")


@dataclass(frozen=True, kw_only=True)
class Limits:
    connect_s: float = 5.0
    total_s: float = 10.0
    connections_max: int = 100
    reply_bytes_max: int = REPLY_BYTES_MAX


class Poster(Protocol):
    """What a transport needs of a client."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply: ...


class Client:
    """Posts to gateways. One for all requests of a transport: connections are kept and shared."""

    def __init__(
        self, limits: Limits, trust: ssl.SSLContext, addresses: Addresses, *, http1: bool = True
    ) -> None:
        for name in _TELLTALES:
            logging.getLogger(name).setLevel(logging.WARNING)
        self._limits = limits
        backend = Backend(addresses, limits.total_s * SILENCE_SHARE)
        network = Network(backend, trust, connections_max=limits.connections_max, http1=http1)
        self._client = httpx.AsyncClient(
            transport=network,
            timeout=httpx.Timeout(None, connect=limits.connect_s),
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            headers={"user-agent": "tidelog", "accept-encoding": "identity"},
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Raises NotSent, and nothing else."""
        with trio.move_on_after(self._limits.total_s):
            try:
                return await self._post(url, headers, body)
            except RefusedAddress as refused:
                raise UNAVAILABLE.because(str(refused)) from None
            except httpx.HTTPError as error:
                raise UNAVAILABLE.because(_named(error)) from None
        raise UNAVAILABLE.because(f"no answer in {self._limits.total_s:g} s")

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        request = self._client.build_request("POST", url, headers=headers, content=body)
        response = await self._client.send(request, stream=True)
        try:
            received = await _beginning(response, self._limits.reply_bytes_max)
        finally:
            with trio.CancelScope(shield=True):  # closing waits for nobody, and frees the stream
                await response.aclose()
        return Reply(response.status_code, response.headers, received)

    async def aclose(self) -> None:
        await self._client.aclose()


async def _beginning(response: httpx.Response, bytes_max: int) -> bytes:
    """Reading on is cancelled from within: only so do all the iterators below come to their end."""
    received = bytearray()
    with trio.CancelScope() as enough:
        async for part in response.aiter_raw():
            received += part
            if len(received) >= bytes_max:
                enough.cancel()
    return bytes(received[:bytes_max])


_NAMES: tuple[tuple[type[httpx.HTTPError], str], ...] = (
    (httpx.ConnectTimeout, "not reached in time"),
    (httpx.ConnectError, "cannot be reached"),
    (httpx.TimeoutException, "no answer in time"),
    (httpx.RemoteProtocolError, "ended the connection, or broke its protocol"),
    (httpx.NetworkError, "the connection broke"),
)


def _named(error: httpx.HTTPError) -> str:
    return next((name for kind, name in _NAMES if isinstance(error, kind)), "the request failed")
