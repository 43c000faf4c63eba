"""Connections that this process holds, and those that it must see off.

A connection's life is events (broker.live.connection_log); the deadlines between them are timers
here. One that loses its transport may be resumed until its state TTL ends; its presence members
stay for a grace period and then leave. After a restart everything that the dead process held counts
as lost from now on, so that the time the broker was down is nobody's fault.
"""

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import trio

from broker import randomness
from broker.channels.presence import LeaveMembers
from broker.errors import BadRequest, BrokerError
from broker.live.background import Background
from broker.live.connection_log import (
    INVALID_KEY,
    CloseConnection,
    ConnectionRow,
    ExpireConnection,
    LoseConnection,
    OpenConnection,
    ResumeConnection,
    StartBroker,
    connection,
    connections,
)
from broker.live.timers import Timer, Timers
from broker.settings import BrokerSettings
from broker.storage_errors import mapped
from storage import Log, Outcome
from storage.serial import ms_of

INCOMPATIBLE_CLIENT_ID = 40102


class LiveConnection:
    """A connection that this process holds. `superseded` is called when another transport resumes
    it; `confirmed`: its client has spoken since it was told its key; `took_over`: it superseded one
    that was alive."""

    def __init__(self, app: str, id_: str, secret: str, client_id: str | None) -> None:
        self.app = app
        self.id = id_
        self.key = f"{id_}!{secret}"
        self.key_hash = hash_secret(secret)
        self.client_id = client_id
        self.confirmed = False
        self.took_over = False
        self.superseded: Callable[[], None] = lambda: None

    @property
    def may_be_unheard(self) -> bool:
        """Whether its client may never have learnt its key, and may come back with the one before.
        Whoever was superseded may not: the two would take it from each other for ever."""
        return not (self.confirmed or self.took_over)


def hash_secret(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


class _Deadlines(NamedTuple):
    """Of a lost connection. resumable_until: by trio's clock."""

    leave: Timer
    expire: Timer
    resumable_until: float


class Connections:
    def __init__(
        self, log: Log, timers: Timers, background: Background, settings: BrokerSettings
    ) -> None:
        self.epoch = 0
        self.live: dict[str, LiveConnection] = {}
        self._log = log
        self._timers = timers
        self._background = background
        self._settings = settings
        self._deadlines: dict[str, _Deadlines] = {}
        self._starting = trio.Lock()
        self.on_start: Callable[[], None] = lambda: None

    async def _started(self) -> None:
        """A log that was full at first may take writes now."""
        if not self.epoch:
            async with self._starting:
                if not self.epoch:
                    await self.start()

    async def start(self) -> None:
        """Begin an epoch, and see off what the last one left. Raises what the log refuses with."""
        with mapped():
            died_ms = ms_of(self._log.position)
            with self._log.view() as view:
                command = StartBroker(view.lost_behind)
            outcome = await self._log.submit(command, app="")
        self.epoch = outcome.reply
        with self._log.view() as rows:
            left = list(connections(rows))
        for row in left:
            gone_ms = died_ms - row.lost_ms if row.lost_ms is not None else 0
            ttl_ms = max(0, self._settings.connection_state_ttl_ms - gone_ms)
            self._see_off(row.app, row.id, self._settings.presence_leave_delay_ms, ttl_ms)
        self.on_start()

    async def open(self, app: str, client_id: str | None) -> LiveConnection:
        """A new connection; it is on disk when this returns."""
        await self._started()
        opened = LiveConnection(app, randomness.new_id(), randomness.new_secret(), client_id)
        command = OpenConnection(app, opened.id, opened.key_hash, self.epoch, client_id)
        await self._submit(app, opened.id, command)
        self.live[opened.id] = opened
        return opened

    async def _submit(self, app: str, id_: str, command: OpenConnection | ResumeConnection) -> None:
        """A client that goes away while we wait may leave a connection that nobody holds."""
        try:
            with mapped():
                await self._log.submit(command, app=app)
        except BrokerError:
            raise  # nothing happened
        except BaseException:
            if id_ not in self.live:
                self._background.post(app, LoseConnection(app, id_, self.epoch))
                self._see_off(app, id_, self._settings.presence_leave_delay_ms)
            raise

    async def resume(self, app: str, key: str, client_id: str | None) -> LiveConnection:
        """The connection that a key belongs to, with a new key (RTN15, RTN16). What held it is
        superseded. Raises BadRequest 80018 when there is none, 40102 when it is another client's.
        """
        await self._started()
        id_, _, secret = key.partition("!")
        with self._log.view() as rows:
            row = connection(rows, id_)
        if row is None or self._is_too_late(id_):
            raise BadRequest("invalid connection key", INVALID_KEY)
        held = self.live.get(id_)
        resumed = LiveConnection(app, id_, randomness.new_secret(), row.client_id)
        command = ResumeConnection(
            app,
            id_,
            hash_secret(secret),
            resumed.key_hash,
            self.epoch,
            previous_allowed=held is None or held.may_be_unheard,
        )
        self._check_client(row, app, client_id)
        await self._submit(app, id_, command)
        self._forget_deadlines(id_)
        held = self.live.get(id_)
        self.live[id_] = resumed
        if held is not None:
            resumed.took_over = True
            held.superseded()
        return resumed

    def _check_client(self, row: ConnectionRow, app: str, client_id: str | None) -> None:
        """RTN15, RSA15: whoever resumes must be allowed to be who opened it."""
        if row.app == app and None not in (row.client_id, client_id) and row.client_id != client_id:
            raise BadRequest(
                "the connection belongs to another clientId", INCOMPATIBLE_CLIENT_ID, 401
            )

    def find(self, app: str, key: str) -> LiveConnection | None:
        """The live connection of an app that a connectionKey names (TM2h)."""
        held = self.live.get(key.partition("!")[0])
        secret = key.partition("!")[2]
        found = held is not None and held.app == app and held.key_hash == hash_secret(secret)
        return held if found else None

    def lost(self, held: LiveConnection, leave_delay_ms: int | None = None) -> None:
        """Its transport is gone without a word. A superseded one has nothing left to lose."""
        if self.live.get(held.id) is not held:
            return
        del self.live[held.id]
        self._background.post(held.app, LoseConnection(held.app, held.id, self.epoch))
        delay_ms = leave_delay_ms or self._settings.presence_leave_delay_ms
        self._see_off(held.app, held.id, delay_ms)

    def closed(self, held: LiveConnection) -> None:
        """Its client said goodbye: its members leave now, and it cannot be resumed."""
        if self.live.get(held.id) is not held:
            return
        del self.live[held.id]
        self._leave(held.app, held.id)
        self._background.post(held.app, CloseConnection(held.app, held.id))

    def leave_channel(self, held: LiveConnection, channel: str) -> None:
        """Its members of one channel leave: it detached."""
        self._leave(held.app, held.id, channel)

    def _see_off(self, app: str, id_: str, leave_ms: int, ttl_ms: int | None = None) -> None:
        """The log remembers the connection for as long as its members stay, so that the next epoch
        finds them; it can be resumed until its TTL ends."""
        if ttl_ms is None:
            ttl_ms = self._settings.connection_state_ttl_ms
        self._forget_deadlines(id_)
        self._deadlines[id_] = _Deadlines(
            self._timers.schedule(leave_ms, partial(self._leave, app, id_)),
            self._timers.schedule(max(ttl_ms, leave_ms), partial(self._expire, app, id_)),
            trio.current_time() + ttl_ms / 1000,
        )

    def _is_too_late(self, id_: str) -> bool:
        deadlines = self._deadlines.get(id_)
        return deadlines is not None and trio.current_time() >= deadlines.resumable_until

    def _forget_deadlines(self, id_: str) -> None:
        deadlines = self._deadlines.pop(id_, None)
        if deadlines is not None:
            deadlines.leave.cancel()
            deadlines.expire.cancel()

    def _leave(self, app: str, id_: str, channel: str | None = None) -> None:
        command = LeaveMembers(app, id_, randomness.new_id(), channel)

        def again(outcome: Outcome) -> None:
            if outcome.reply:
                self._leave(app, id_, channel)

        self._background.post(app, command, then=again)

    def _expire(self, app: str, id_: str) -> None:
        self._deadlines.pop(id_, None)
        self._leave(app, id_)
        self._background.post(app, ExpireConnection(app, id_, self.epoch))
