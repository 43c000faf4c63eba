"""Connections that this process holds, and those that it must see off.

A connection's life is events (broker.live.connection_log); the deadlines between them are timers
here. One that loses its transport may be resumed until its state TTL ends; its presence members
stay for a grace period and then leave. After a restart everything that the dead process held counts
as lost from now on, so that the time the broker was down is nobody's fault.

Where several processes share the log, each sees off what it lost, and the one that writes the log
also what a process left that has ended. A connection that another process resumed is superseded
here as soon as the log's tail says so; what a deadline here would do to it is refused there.
"""

from collections.abc import Callable, Iterable
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import trio

from broker import randomness
from broker.channels.presence import LeaveMembers
from broker.errors import BadRequest, BrokerError
from broker.event import Kind
from broker.events import ConnectionResumed
from broker.live.background import Background
from broker.live.connection_log import (
    INVALID_KEY,
    CloseConnection,
    ConnectionRow,
    EndWorker,
    ExpireConnection,
    LoseConnection,
    OpenConnection,
    ResumeConnection,
    StartBroker,
    connection,
    connections,
    is_held,
)
from broker.live.hub import Hub
from broker.live.timers import Timer, Timers
from broker.settings import BrokerSettings
from broker.storage_errors import mapped
from storage import Log, Outcome, Record
from storage.serial import ms_of

INCOMPATIBLE_CLIENT_ID = 40102


class LiveConnection:
    """A connection that this process holds. `superseded` is called when another transport resumes
    it; `confirmed`: its client has spoken since it was told its key; `took_over`: it superseded one
    that was alive; `since`: the serial from which on this process holds it."""

    def __init__(self, app: str, id_: str, secret: str, client_id: str | None) -> None:
        self.app = app
        self.id = id_
        self.since = 0
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
    """Of a lost connection. resumable_until: by trio's clock. since: as of LiveConnection."""

    leave: Timer
    expire: Timer
    resumable_until: float
    since: int


class Connections:
    def __init__(
        self, log: Log, hub: Hub, timers: Timers, background: Background, settings: BrokerSettings
    ) -> None:
        self.epoch = 0
        hub.watch(Kind.CONNECTIONS, self._resumed_elsewhere)
        self.live: dict[str, LiveConnection] = {}
        self._log = log
        self._timers = timers
        self._background = background
        self._settings = settings
        self._deadlines: dict[str, _Deadlines] = {}
        self._starting = trio.Lock()
        self.on_start: Callable[[], None] = lambda: None

    async def started(self) -> None:
        """An epoch has begun: a log that was full at first may take writes now."""
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
        self._see_off_left(left, died_ms)
        self.on_start()

    def join(self, epoch: int) -> None:
        """Begin an epoch that was given to this process, beside others."""
        self.epoch = epoch
        self.on_start()

    async def worker_ended(self, epoch: int) -> None:
        """A process beside this one is gone: what it held is lost, what it had lost is seen off
        here. Raises what the log refuses with."""
        with mapped():
            outcome = await self._log.submit(EndWorker(epoch), app="")
        died_ms = ms_of(outcome.serials[0] or 0) if outcome.serials else self._log.clock.now()
        with self._log.view() as rows:
            left = [row for row in connections(rows) if row.epoch == epoch]
        for row in left:
            if row.lost_ms is None:
                self._background.post(row.app, LoseConnection(row.app, row.id, epoch))
        self._see_off_left(left, died_ms)

    def _see_off_left(self, left: Iterable[ConnectionRow], died_ms: int) -> None:
        """What a process left that died."""
        for row in left:
            gone_ms = died_ms - row.lost_ms if row.lost_ms is not None else 0
            ttl_ms = max(0, self._settings.connection_state_ttl_ms - gone_ms)
            leave_ms = self._settings.presence_leave_delay_ms
            self._see_off(row.app, row.id, leave_ms, ttl_ms, since=self._log.position)

    def _resumed_elsewhere(self, record: Record) -> None:
        """Another process has it now, unless that was before it was here."""
        event = record.event
        if not isinstance(event, ConnectionResumed) or event.epoch == self.epoch:
            return
        deadlines = self._deadlines.get(event.connection)
        if deadlines is not None and record.serial > deadlines.since:
            self._forget_deadlines(event.connection)
        held = self.live.get(event.connection)
        if held is not None and record.serial > held.since:
            del self.live[held.id]
            held.superseded()

    async def open(self, app: str, client_id: str | None) -> LiveConnection:
        """A new connection; it is on disk when this returns."""
        await self.started()
        opened = LiveConnection(app, randomness.new_id(), randomness.new_secret(), client_id)
        command = OpenConnection(app, opened.id, opened.key_hash, self.epoch, client_id)
        opened.since = (await self._submit(app, opened.id, command)).serials[0] or 0
        self.live[opened.id] = opened
        return opened

    async def _submit(
        self, app: str, id_: str, command: OpenConnection | ResumeConnection
    ) -> Outcome:
        """A client that goes away while we wait may leave a connection that nobody holds."""
        try:
            with mapped():
                return await self._log.submit(command, app=app)
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
        await self.started()
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
            supersedes=held is not None,
        )
        self._check_client(row, app, client_id)
        outcome = await self._submit(app, id_, command)
        resumed.since, resumed.took_over = outcome.serials[0] or 0, outcome.reply is True
        self._forget_deadlines(id_)
        held = self.live.get(id_)
        if self._is_elsewhere(id_):  # since, and the tail has said so already
            raise BadRequest("the connection was resumed elsewhere", INVALID_KEY)
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

    def _is_elsewhere(self, id_: str) -> bool:
        with self._log.view() as rows:
            row = connection(rows, id_)
        return row is not None and row.epoch != self.epoch

    def find(self, app: str, key: str) -> LiveConnection | None:
        """The live connection of an app that a connectionKey names (TM2h), whichever process holds
        it."""
        id_, _, secret = key.partition("!")
        held = self.live.get(id_) or self._held_elsewhere(id_, secret)
        found = held is not None and held.app == app and held.key_hash == hash_secret(secret)
        return held if found else None

    def _held_elsewhere(self, id_: str, secret: str) -> LiveConnection | None:
        with self._log.view() as rows:
            row = connection(rows, id_)
            if row is None or row.epoch == self.epoch or not is_held(rows, row):
                return None
        found = LiveConnection(row.app, id_, secret, row.client_id)
        return found if found.key_hash == row.key_hash else None

    def lost(self, held: LiveConnection, leave_delay_ms: int | None = None) -> None:
        """Its transport is gone without a word. A superseded one has nothing left to lose."""
        if self.live.get(held.id) is not held:
            return
        del self.live[held.id]
        self._background.post(held.app, LoseConnection(held.app, held.id, self.epoch))
        delay_ms = leave_delay_ms or self._settings.presence_leave_delay_ms
        self._see_off(held.app, held.id, delay_ms, since=held.since)

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

    def _see_off(
        self, app: str, id_: str, leave_ms: int, ttl_ms: int | None = None, *, since: int = 0
    ) -> None:
        """The log remembers the connection for as long as its members stay, so that the next epoch
        finds them; it can be resumed until its TTL ends."""
        if ttl_ms is None:
            ttl_ms = self._settings.connection_state_ttl_ms
        self._forget_deadlines(id_)
        self._deadlines[id_] = _Deadlines(
            self._timers.schedule(leave_ms, partial(self._leave, app, id_, if_lost=True)),
            self._timers.schedule(max(ttl_ms, leave_ms), partial(self._expire, app, id_)),
            trio.current_time() + ttl_ms / 1000,
            since,
        )

    def _is_too_late(self, id_: str) -> bool:
        deadlines = self._deadlines.get(id_)
        return deadlines is not None and trio.current_time() >= deadlines.resumable_until

    def _forget_deadlines(self, id_: str) -> None:
        deadlines = self._deadlines.pop(id_, None)
        if deadlines is not None:
            deadlines.leave.cancel()
            deadlines.expire.cancel()

    def _leave(
        self, app: str, id_: str, channel: str | None = None, *, if_lost: bool = False
    ) -> None:
        command = LeaveMembers(app, id_, randomness.new_id(), channel, if_lost)

        def again(outcome: Outcome) -> None:
            if outcome.reply:
                self._leave(app, id_, channel, if_lost=if_lost)

        self._background.post(app, command, then=again)

    def _expire(self, app: str, id_: str) -> None:
        self._deadlines.pop(id_, None)
        self._leave(app, id_, if_lost=True)
        self._background.post(app, ExpireConnection(app, id_, self.epoch))
