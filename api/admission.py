"""Who may hold a connection: the limits altogether, per address, and for those without credentials.

Owns the set of open connections and its counts. Invariant: `admit` and `release` pair up, and no
count ever exceeds its limit but by connections that are being closed, or that arrived together.

An attacker can hold as many connections as the limit for strangers allows. Refusing newcomers
then would let him lock everybody out for free, so instead the oldest stranger that is not being
answered makes room: a client that authenticates at once never notices. Only when all strangers
are being answered is a newcomer refused. Whoever authenticated is never put out.

After a restart all clients come back at once. Opening a WebSocket takes work of ours (a commit), so
only `handshakes_max` are opened at a time: meanwhile nobody else is accepted, and the system's
queue holds who waits, first come first served. What counts is a whole upgrade request that we are
working on, until it is authenticated or refused, for `realtime_open_timeout_ms` at most. To hold a
connection open, or to be slow, holds nobody up.

Addresses count by IPv4 address or IPv6 /64, the smallest block that one customer gets. Proxies
that the operator trusts carry many clients and are not counted per address.
"""

import ipaddress
from collections import Counter

import trio

from api import refusals
from api.connection import Connection
from api.settings import ServerSettings
from broker.errors import BrokerError

IPV6_PREFIX_BITS = 64


def address_group(host: str) -> str:
    """What one client is taken to be: its IPv4 address, or the /64 that its IPv6 address is in."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_PREFIX_BITS), strict=False))


class Admission:
    def __init__(self, settings: ServerSettings, connections_max: int) -> None:
        self.connections: set[Connection] = set()
        self.refused: Counter[str] = Counter()
        self._settings = settings
        self._connections_max = connections_max
        self._trusted = [ipaddress.ip_network(network) for network in settings.trusted_proxies]
        self._per_address: Counter[str] = Counter()
        self._strangers: dict[Connection, None] = {}  # in order of arrival
        self._opening: set[Connection] = set()
        self._callbacks = (self._authenticated, self._answered)  # made once for all connections
        self._opened = trio.Event()
        self._empty = trio.Event()

    @property
    def unauthenticated(self) -> int:
        return len(self._strangers)

    @property
    def opening(self) -> int:
        """WebSockets that are being opened."""
        return len(self._opening)

    async def wait_for_turn(self) -> None:
        """Return when another WebSocket may be opened: before a connection is served."""
        while len(self._opening) >= self._settings.handshakes_max:
            if self._opened.is_set():
                self._opened = trio.Event()
            await self._opened.wait()

    def open_websocket(self, connection: Connection) -> None:
        """Its upgrade request is whole; until it is authenticated we are answering it."""
        self._opening.add(connection)
        connection.opening(self._settings.realtime_open_timeout_ms)

    def admit(self, transport: trio.SocketStream, host: str) -> Connection:
        """Raises Overloaded or Unavailable, and counts nothing, when a limit is reached."""
        address = "" if self._is_trusted(host) else address_group(host)
        self._check_room(address)
        self._make_room_for_stranger()
        connection = Connection(transport, address, *self._callbacks)
        self.connections.add(connection)
        self._strangers[connection] = None
        if address:
            self._per_address[address] += 1
        return connection

    def release(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._strangers.pop(connection, None)
        self._answered(connection)
        if connection.address:
            self._per_address[connection.address] -= 1
            if not self._per_address[connection.address]:
                del self._per_address[connection.address]
        if not self.connections:
            self._empty.set()

    async def wait_empty(self) -> None:
        while self.connections:
            self._empty = trio.Event()
            await self._empty.wait()

    def _is_trusted(self, host: str) -> bool:
        if not self._trusted:
            return False
        address = ipaddress.ip_address(host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._trusted)

    def _check_room(self, address: str) -> None:
        if len(self.connections) >= self._connections_max:
            raise self._refuse("connections_max", refusals.too_many_connections())
        limit = self._settings.connections_per_address_max
        if address and self._per_address[address] >= limit:
            raise self._refuse("connections_per_address_max", refusals.too_many_from_address(limit))

    def _make_room_for_stranger(self) -> None:
        if len(self._strangers) < self._settings.unauthenticated_connections_max:
            return
        oldest = next((one for one in self._strangers if self._is_idle(one)), None)
        if oldest is None:
            error = refusals.too_many_connections()
            raise self._refuse("unauthenticated_connections_max", error)
        self.refused["unauthenticated_connections_max"] += 1
        del self._strangers[oldest]  # at once: its task may take a while to end
        oldest.abort()

    def _is_idle(self, connection: Connection) -> bool:
        return not connection.requests and connection not in self._opening

    def _refuse(self, limit: str, error: BrokerError) -> BrokerError:
        self.refused[limit] += 1
        return error

    def _authenticated(self, connection: Connection) -> None:
        self._strangers.pop(connection, None)

    def _answered(self, connection: Connection) -> None:
        self._opening.discard(connection)
        self._opened.set()
