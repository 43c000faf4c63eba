"""A client of one gateway that speaks HTTP/2: one connection, for any number of requests.

For a gateway that is told of a hundred thousand devices in a row, where what a request costs is
what there is; it costs a sixth of one of `api.push.client`, whose bounds and fault model it has. In
addition, a request that the gateway says it has not seen goes to a new connection at once. What may
have been seen never does: what is repeated is for the outbox to decide.

Headers that differ from request to request, and those that are secret, stay out of the table that
both sides keep (RFC 7541 7.1; Apple asks for it).
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from math import inf

import httpcore
import httpx
import trio
from hpack import HeaderTuple, NeverIndexedHeaderTuple

from api.push.client import SILENCE_SHARE, Limits, hush
from api.push.guard import RefusedAddress
from api.push.http2_connection import Connection, Lost, Unseen
from api.push.network import Addresses, Backend
from api.push.outcome import UNAVAILABLE
from api.push.reply import Reply
from api.push.single_flight import SingleFlight
from api.push.trouble import ENDED, NOWHERE, named

CONNECTIONS_TRIED = 3  # for one request, each of which said that it has not seen it
_PORTS = {"https": 443, "http": 80}
_NOT_KEPT = frozenset({"authorization", "apns-id", "apns-expiration", "apns-collapse-id"})
_ALWAYS = (HeaderTuple("user-agent", "tidelog"), HeaderTuple("accept-encoding", "identity"))


class Http2Client:
    """Posts to URLs that begin with `base`. To be opened before, and closed after."""

    def __init__(
        self, base: str, limits: Limits, trust: ssl.SSLContext, addresses: Addresses
    ) -> None:
        hush()
        trust.set_alpn_protocols(["h2"])
        url = httpx.URL(base)
        self._host, self._is_tls = url.raw_host.decode("ascii"), url.scheme == "https"
        self._port = url.port or _PORTS[url.scheme]
        self._origin = f"{url.scheme}://{url.netloc.decode('ascii')}"
        self._prefix = base, url.raw_path.decode("ascii").rstrip("/")
        self._limits = limits
        self._trust = trust
        self._backend = Backend(addresses, silence_s=inf)  # it is the connection that counts it
        self._connection: Connection | None = None
        self._connect = SingleFlight(self._connected)
        self._opening: AbstractAsyncContextManager[trio.Nursery] = trio.open_nursery()
        self._nursery: trio.Nursery | None = None
        self._begins = (
            HeaderTuple(":method", "POST"),
            HeaderTuple(":scheme", url.scheme),
            HeaderTuple(":authority", url.netloc.decode("ascii")),
        )

    async def open(self) -> None:
        self._nursery = await self._opening.__aenter__()

    async def aclose(self) -> None:
        """By who opened it. What else went wrong there is not wrapped in what ends here."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
            self._nursery = None
            await self._opening.__aexit__(None, None, None)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Raises NotSent, and nothing else."""
        head = [*self._head(url, headers), HeaderTuple("content-length", str(len(body)))]
        with trio.move_on_after(self._limits.total_s):
            try:
                return await self._post(head, body)
            except (RefusedAddress, Lost) as told:
                raise UNAVAILABLE.because(str(told)) from None
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                raise UNAVAILABLE.because(named(error)) from None
        raise UNAVAILABLE.because(f"no answer in {self._limits.total_s:g} s")

    async def _post(self, head: list[HeaderTuple], body: bytes) -> Reply:
        for _ in range(CONNECTIONS_TRIED):
            connection = self._connection
            if connection is None or not connection.is_open:
                connection = await self._connect()
            try:
                return await connection.post(head, body)
            except Unseen:
                continue
        raise Lost(ENDED)

    def _head(self, url: str, headers: Mapping[str, str]) -> Iterator[HeaderTuple]:
        base, path = self._prefix
        assert url.startswith(base)
        yield from self._begins
        yield NeverIndexedHeaderTuple(":path", path + url[len(base) :])
        for name, value in headers.items():
            kind = NeverIndexedHeaderTuple if name in _NOT_KEPT else HeaderTuple
            yield kind(name, value)
        yield from _ALWAYS

    async def _connected(self) -> Connection:
        assert self._nursery is not None
        stream = await self._backend.connect_tcp(self._host, self._port, self._limits.connect_s)
        if self._is_tls:
            stream = await stream.start_tls(self._trust, self._host, self._limits.connect_s)
            if stream.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
                await stream.aclose()
                raise Lost(NOWHERE)
        connection = self._connection = Connection(stream, self._limits.total_s * SILENCE_SHARE)
        self._nursery.start_soon(connection.run)
        return connection
