"""Realtime connections: from a WebSocket upgrade to a session, and all of them together.

A client is authenticated and its connection opened or resumed before it hears CONNECTED; whoever is
refused is told so in the protocol, on an accepted socket (reference 2.2). Owns the tasks that
outlive a connection's own (flushing, catching up) and what concerns many sessions at once:
revocations, and the end of the server.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from api import secure_transport
from api.listener import Upgrade
from api.realtime.kept_syncs import KeptSyncs
from api.realtime.outbox import Budget
from api.realtime.protocol import Action, encode
from api.realtime.session import Options, Session
from api.realtime.websocket import WebSocket
from api.realtime.wiring import Wiring
from api.settings import ServerSettings
from api.tls_stream import TlsStream
from broker import Broker, BrokerError
from broker.auth.credentials import (
    AUTHENTICATION_FAILED,
    KEY_REVOKED,
    UNKNOWN_KEY,
    Principal,
)
from broker.errors import BadRequest, NotFound, Unauthorized
from broker.event import Kind
from broker.events import AppDeleted, KeyRevoked, TokensRevoked
from broker.live.connection_log import INVALID_KEY
from broker.live.connections import LiveConnection

CATCHING_UP_MAX = 2  # connections that read pages from disk at a time
HEARTBEAT_INTERVAL_MS_MIN = 5_000
REMAIN_PRESENT_FOR_MS_MIN = 1_000
REMAIN_PRESENT_FOR_MS_MAX = 600_000
# Not a 5xx: SDKs without fallback hosts would not come back (reference 3.4).
SHUTTING_DOWN = 80003


class Place:
    """One connection's among those of its app, once that is known."""

    __slots__ = ("_app", "_places")

    def __init__(self, places: Counter[str]) -> None:
        self._places = places
        self._app: str | None = None

    def take(self, app: str) -> None:
        self._app = app
        self._places[app] += 1

    def leave(self) -> None:
        if self._app is not None:
            self._places[self._app] -= 1
            if not self._places[self._app]:
                del self._places[self._app]
            self._app = None


class Realtime:
    """What `listener.serve` hands WebSocket upgrades to. Made by `realtime`."""

    def __init__(self, broker: Broker, settings: ServerSettings, tasks: trio.Nursery) -> None:
        self.sessions: set[Session] = set()
        self._broker = broker
        self._settings = settings
        self._tasks = tasks
        self._readers = trio.CapacityLimiter(CATCHING_UP_MAX)
        self._syncs = KeptSyncs()
        self.places: Counter[str] = Counter()
        self._budget = Budget(settings.outboxes_bytes_max)
        broker.epoch.hub.watch(
            Kind.REVOCATIONS, lambda record: self._revoked(record.stream.app, record.event)
        )
        broker.epoch.hub.watch(Kind.SYSTEM, lambda record: self._system(record.event))

    @property
    def budget(self) -> Budget:
        return self._budget

    @property
    def catching_up(self) -> int:
        """Connections that read on from disk."""
        return sum(session.is_catching_up for session in self.sessions)

    async def __call__(self, upgrade: Upgrade) -> None:
        websocket = await WebSocket.accept(upgrade, self._settings, self._budget, self._tasks)
        place = Place(self.places)
        try:
            session = await self._open(websocket, upgrade, place)
            websocket.forget_request()
            if session is not None:
                await self._converse(session, websocket, upgrade)
        finally:
            place.leave()
            with trio.CancelScope(shield=True):
                await websocket.close()

    async def _converse(self, session: Session, websocket: WebSocket, upgrade: Upgrade) -> None:
        self.sessions.add(session)
        self._check_again(session)
        upgrade.connection.on_drain = lambda: session.disconnect(
            BadRequest("the server is shutting down", SHUTTING_DOWN)
        )
        try:
            while not session.over and (frames := await websocket.receive()):
                session.receive(frames)
                await session.wait_for_room()
        finally:
            self.sessions.discard(session)
            session.lost()

    async def _open(self, websocket: WebSocket, upgrade: Upgrade, place: Place) -> Session | None:
        """The session of a client that may connect; None for one that was told why not."""
        binary = websocket.query.get("format") == "msgpack"
        try:
            self._refuse_plain(websocket, upgrade)
            principal = self._authenticated(websocket)
            options = self._options(websocket)
            self._take_place(websocket, principal, place)
            held, error = await self._connection(websocket, principal)
        except BrokerError as refusal:
            self._broker.answers.refused("realtime", refusal.code)
            message = {"action": Action.ERROR, "error": _as_realtime(refusal).info}
            websocket.outbox.send(encode(message, binary=binary))
            return None
        upgrade.connection.authenticated()
        wiring = Wiring(
            self._broker,
            held,
            principal,
            websocket.outbox,
            self._tasks,
            self._readers,
            self._syncs,
            binary=binary,
            echo=websocket.query.get("echo") != "false",
        )
        resumed = error is None and _resumes(websocket) is not None
        session = Session(wiring, options, upgrade.connection.scope, resumed=resumed)
        session.start(error)
        return session

    def _refuse_plain(self, websocket: WebSocket, upgrade: Upgrade) -> None:
        """Every connection has credentials. Raises Unauthorized 40103."""
        proto = websocket.headers.get("x-forwarded-proto")
        secure_transport.refuse_plain(
            self._settings,
            is_tls=isinstance(upgrade.stream, TlsStream),
            is_forwarded=secure_transport.is_forwarded(upgrade.connection, proto),
        )

    def _authenticated(self, websocket: WebSocket) -> Principal:
        query = websocket.query
        return self._broker.authenticate(
            key=query.get("key"),
            token=query.get("access_token") or query.get("accessToken"),
            client_id=query.get("clientId") or None,
        )

    async def _connection(
        self, websocket: WebSocket, principal: Principal
    ) -> tuple[LiveConnection, BrokerError | None]:
        """The one to be resumed, or a new one and why (RTN15c, RTN16)."""
        connections, key = self._broker.epoch.connections, _resumes(websocket)
        if key is None:
            return await connections.open(principal.app_id, principal.client_id), None
        try:
            return await connections.resume(principal.app_id, key, principal.client_id), None
        except BadRequest as error:
            if error.code != INVALID_KEY:
                raise
            return await connections.open(principal.app_id, principal.client_id), error

    def _take_place(self, websocket: WebSocket, principal: Principal, place: Place) -> None:
        """Whoever resumes what is still held here takes its place. Raises BrokerError 40111."""
        app, key = principal.app_id, _resumes(websocket) or ""
        if self._broker.epoch.connections.find(app, key) is None:
            self._broker.epoch.rate_limits.connection(app, self.places[app])
        place.take(app)

    def _options(self, websocket: WebSocket) -> Options:
        query = websocket.query
        idle_ms = _milliseconds(query.get("heartbeatInterval"), HEARTBEAT_INTERVAL_MS_MIN)
        remain_ms = _milliseconds(query.get("remainPresentFor"), REMAIN_PRESENT_FOR_MS_MIN)
        return Options(
            idle_ms=idle_ms or self._settings.idle_interval_ms,
            frame_bytes_max=self._settings.frame_bytes_max,
            remain_present_for_ms=min(remain_ms, REMAIN_PRESENT_FOR_MS_MAX) if remain_ms else None,
        )

    def _revoked(self, app: str, revocation: TokensRevoked) -> None:
        for session in list(self.sessions):
            if session.wiring.app == app:
                session.revoked(revocation)

    def _system(self, event: object) -> None:
        """The connections of an app that was deleted end with it, those of a key likewise."""
        for session in list(self.sessions):
            match event:
                case AppDeleted(app) if app == session.wiring.app:
                    session.fail(NotFound("the app was deleted"))
                case KeyRevoked(app, key) if session.wiring.principal.key_name == f"{app}.{key}":
                    session.fail(Unauthorized("the key has been revoked", KEY_REVOKED))
                case _:
                    pass

    def _check_again(self, session: Session) -> None:
        """What was revoked while the connection was being opened."""
        try:
            self._broker.check_again(session.wiring.principal)
        except BrokerError as error:
            session.fail(error)


def _as_realtime(error: BrokerError) -> BrokerError:
    """A key that the app does not have is not told apart from a wrong one here (reference 2.2)."""
    if isinstance(error, Unauthorized) and error.code == UNKNOWN_KEY:
        return Unauthorized(error.message, AUTHENTICATION_FAILED)
    return error


def _resumes(websocket: WebSocket) -> str | None:
    return websocket.query.get("resume") or websocket.query.get("recover") or None


def _milliseconds(text: str | None, least: int) -> int | None:
    """Raises nothing: what is not a number is as good as absent."""
    if text is None or not (text.isascii() and text.isdigit()):
        return None
    return max(least, int(text[:15]))


@asynccontextmanager
async def realtime(broker: Broker, settings: ServerSettings) -> AsyncIterator[Realtime]:
    """Realtime connections for as long as the listener runs inside."""
    async with trio.open_nursery() as tasks:
        yield Realtime(broker, settings, tasks)
        tasks.cancel_scope.cancel()
