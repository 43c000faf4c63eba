"""The broker: everything above the log and below any protocol, as one object.

    async with broker.open("./data") as b:
        await b.channel("orders").publish("created", {"id": 7}, id="order-7")

It owns one log, the tasks that keep it (delivery, retention, purges), and the one place where the
log's errors become the broker's. `open` on an empty directory creates an app with a root key.
"""

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from broker import administration, purge, randomness, retention, tenancy
from broker.apps import Apps
from broker.audit import Audit
from broker.auth import revocation_requests, token_requests
from broker.auth.authentication import authenticate, still_valid
from broker.auth.credentials import Principal
from broker.auth.revocation_requests import RevocationRequest, TargetResult
from broker.auth.token_requests import TokenRequest
from broker.auth.tokens import TokenDetails
from broker.beams.service import Beams
from broker.channel import Channel
from broker.channels import channel_name, lifecycle
from broker.channels.lifecycle import ChannelsPage
from broker.channels.message_filter import MessageFilter
from broker.channels.occupancy import Occupancy
from broker.channels.presence import MembersPage, members_page
from broker.clock import Clock, wall_clock
from broker.domain import broker_domain
from broker.errors import BadRequest, BrokerError, NotFound, Unavailable
from broker.event import Kind
from broker.interactions.annotator import Annotator
from broker.interactions.editor import Editor
from broker.live.epoch import Epoch
from broker.matrix.service import Matrix
from broker.messages import history
from broker.messages.history import HistoryPage, HistoryQuery, PresencePage
from broker.messages.message import Message
from broker.metrics import Answers, Metrics
from broker.publisher import Published, Publisher
from broker.push.attempts import Attempts
from broker.push.channel_transport import TRANSPORT, ChannelTransport
from broker.push.outbox import Outbox
from broker.push.reports import Reports
from broker.push.sealing import Sealer
from broker.push.service import Push
from broker.push.transport import Transport
from broker.settings import BrokerSettings
from broker.stats import query as usage
from broker.stats.counters import Counters
from broker.stats.query import StatsPage, StatsQuery
from broker.stats.recording import AddStats, MinuteCounts
from broker.storage_errors import mapped
from storage import LocalLog, Log, Outcome, Rows, open_log
from storage.keyfile import KeyFile
from storage.serial import ms_of

logger = logging.getLogger("tidelog.broker")
SERIES_CHARS = 10


class Broker:
    """An open broker. Made by `open`; used from the trio thread it was opened in."""

    def __init__(
        self, log: Log, keys: KeyFile, settings: BrokerSettings, clock: Clock, series: str
    ) -> None:
        self.log = log
        self.settings = settings
        self.series = series
        self.clock = clock
        self.metrics = Metrics()
        self.answers = Answers()
        self.apps = Apps(self.submit, self.rows, self._purge_pending)
        self.matrix = Matrix(self.submit, self.rows)
        self.audit = Audit(log, self.submit)
        self.epoch = Epoch(log, settings, series)
        self.epoch.hub.watch(Kind.SYSTEM, lambda _: self.apps.forget())
        self._purging = trio.Lock()
        self.publisher = Publisher(log, self.epoch, settings, self.metrics, series)
        self.editor = Editor(log, self.epoch, settings, series)
        self.annotator = Annotator(log, self.epoch, settings, series)
        sealer = Sealer(keys, settings.push_zone)
        self.push = Push(log, sealer, self.default_app)
        self.beams = Beams(self.submit, self.rows, self.push)
        attempts = Attempts(sealer)
        attempts.transports[TRANSPORT] = ChannelTransport(log, self.apps, self.publisher)
        reports = Reports(self.epoch.app_log)
        self.outbox = Outbox(log, self.epoch.hub, self.push, attempts, reports, series)

    def channel(self, name: str, *, app: str | None = None) -> Channel:
        """A channel of an app (default: the oldest). Raises BadRequest 40010 for a bad name,
        NotFound for an app that does not exist."""
        app = app or self.default_app()
        if not self.apps.app_exists(app):
            raise NotFound(f"there is no app {app!r}")
        return Channel(self, app, channel_name.parse(name).name)

    def default_app(self) -> str:
        """The oldest app's id. Raises NotFound when there is none."""
        found = self.apps.list()
        if not found:
            raise NotFound("this broker has no app")
        return found[0].id

    @property
    def _writing(self) -> LocalLog:
        """Raises Unavailable in a process that does not write the log itself."""
        if not isinstance(self.log, LocalLog):
            raise Unavailable("this is for the process that writes the log")
        return self.log

    @property
    def failure(self) -> str | None:
        """Why the broker is not ready to write; None when it is."""
        return str(self.log.failed) if self.log.failed else None

    @contextmanager
    def rows(self) -> Iterator[Rows]:
        """The projections, for a few point reads."""
        with mapped(), self.log.view() as rows:
            yield rows

    def now(self) -> int:
        """The server's time in ms: not before any earlier message, before every later one."""
        return self.log.clock.read()

    def authenticate(
        self, *, key: str | None = None, token: str | None = None, client_id: str | None = None
    ) -> Principal:
        """The caller that holds `key` or else `token` (see broker.auth.authentication)."""
        return authenticate(
            self.apps, key=key, token=token, client_id=client_id, now_ms=self.clock()
        )

    async def issue_token(
        self, key_name: str, request: TokenRequest, caller: Principal | None = None
    ) -> TokenDetails:
        """A new token of a key. `caller`: who brings an unsigned request (see token_requests)."""
        return await token_requests.issue(
            request, key_name, caller, keyring=self.apps, submit=self.submit, now=self.now
        )

    async def revoke_tokens(
        self, caller: Principal, key_name: str, request: RevocationRequest
    ) -> list[TargetResult]:
        """Revoke tokens of a key (see revocation_requests)."""
        return await revocation_requests.revoke(request, key_name, caller, submit=self.submit)

    def check_again(self, principal: Principal) -> None:
        """Raises what `authenticate` would, had the caller come only now."""
        still_valid(self.apps, principal, self.time_ms())

    def time_ms(self) -> int:
        """The server's time as `now`, but telling nobody: later messages may share it."""
        return self.log.clock.now()

    async def submit(self, command: Any, *, app: str, cost: int = 256) -> Outcome:
        """Decide and append one command; returns once it is on disk."""
        with mapped():
            return await self.log.submit(command, app=app, cost=cost)

    async def publish(
        self, principal: Principal, channel: str, messages: Sequence[Message]
    ) -> Published:
        """Publish messages, all or none. Raises as `validate` says, Overloaded, Unavailable."""
        return await self.publisher.publish(principal, channel, messages)

    async def publish_each(
        self, principal: Principal, publishes: Sequence[tuple[str, Sequence[Message]]]
    ) -> list[Published | BrokerError]:
        """Several publishes in one commit, each on its own (channel, messages): what became of
        each, in their order. Raises Overloaded or Unavailable; then none was taken."""
        return await self.publisher.publish_each(principal, publishes)

    async def history(self, principal: Principal, channel: str, query: HistoryQuery) -> HistoryPage:
        """A page of a channel's messages. Raises Unauthorized 40160, BadRequest 40003."""
        principal.require("history", channel)
        return await self.read_history(principal.app_id, channel, query)

    async def read_history(
        self, app: str, channel: str, query: HistoryQuery, selected: MessageFilter | None = None
    ) -> HistoryPage:
        """A page of a channel's messages, or of those that a filter matches."""
        self._check_limit(query)
        self.metrics.history_reads += 1
        with mapped():
            return await history.history(self.log, app, channel, query, self.series, selected)

    def _check_limit(self, query: HistoryQuery) -> None:
        limit_max = self.settings.history_limit_max
        if not 0 < query.limit <= limit_max:
            raise BadRequest(f"limit must be between 1 and {limit_max}", history.INVALID_VALUE)

    async def presence_history(
        self, principal: Principal, channel: str, query: HistoryQuery
    ) -> PresencePage:
        """A page of what members did. Raises as `history` does."""
        principal.require("history", channel)
        self._check_limit(query)
        self.metrics.history_reads += 1
        with mapped():
            return await history.presence_history(self.log, principal.app_id, channel, query)

    async def members(
        self,
        app: str,
        channel: str,
        *,
        after: bytes = b"",
        limit: int,
        client_id: str | None = None,
        connection_id: str | None = None,
    ) -> MembersPage:
        """Who is on a channel, by pages that do not repeat a member; `after`: the last `next`."""
        with mapped():
            return await self.log.query(
                lambda rows: members_page(
                    rows, app, channel, after, limit, client_id, connection_id
                )
            )

    async def active_channels(
        self, app: str, *, prefix: str = "", after: bytes = b"", limit: int
    ) -> ChannelsPage:
        """The names of an app's active channels in their order; `after`: the last page's `next`."""
        with mapped():
            return await self.log.query(
                lambda rows: lifecycle.active_page(rows, app, prefix, after, limit)
            )

    async def stats(self, app: str, query: StatsQuery) -> StatsPage:
        """A page of an app's usage, counted up to now. Raises BadRequest 40003."""
        with mapped():
            return await usage.stats(self.log, self.epoch.stats, app, query)

    async def add_stats(self, app: str, minutes: Sequence[tuple[int, Counters]]) -> None:
        """Usage of any time that was not counted here: (start of a minute, counters). All of it, or
        an error and nothing."""
        counts = tuple(MinuteCounts(app, minute_ms, counters) for minute_ms, counters in minutes)
        await self.submit(AddStats(app, counts), app=app)

    def occupancy(self, app: str, channel: str) -> Occupancy:
        """How many are attached to a channel, by what they may do."""
        return self.epoch.occupancy.now(app, channel)

    async def purge(
        self, app: str, *, channel: str | None = None, client_id: str | None = None
    ) -> None:
        """Remove what was stored of an app, of one of its channels, or of one of its clients.
        Returns when it is gone from the log (see broker.purge)."""
        await self.submit(purge.Purge(app, channel, client_id), app=app)
        await self._purge_pending()

    async def _purge_pending(self) -> None:
        """Carry out what was requested: just now, before a crash, or by a caller that gave up."""
        async with self._purging:
            with self.rows() as rows:
                pending = purge.pending(rows)
            for serial, request in pending:
                if request.client_id is not None:
                    await self._purge_devices(request.app, request.client_id, ms_of(serial))
                with mapped():
                    await purge.carry_out(self._writing, serial, request)
                if not self.apps.app_exists(request.app):
                    await self.push.forget_strangers(request.app)

    async def _purge_devices(self, app: str, client_id: str, until_ms: int) -> None:
        await self.push.remove(app, client=client_id, api=None, until_ms=until_ms)
        await self.push.unsubscribe(app, client=client_id)

    async def sweep(self) -> int:
        """Trim now what is past its retention; returns how many streams were cut."""
        with mapped():
            return await retention.sweep(self._writing, self.settings)

    async def rebuild(self) -> None:
        """Fold every projection again from the log, beside live traffic."""
        with mapped():
            await self._writing.rebuild()

    async def run(self, *, delivers: trio.Event | None) -> None:
        """The broker's own work: delivery, and housekeeping in the process that writes the log.
        `delivers`: notifications too, from when it is set."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.epoch.run)
            if delivers is not None:
                nursery.start_soon(self._deliver, delivers)
            if isinstance(self.log, LocalLog):
                nursery.start_soon(self._keep_house)

    async def _deliver(self, begins: trio.Event) -> None:
        await begins.wait()
        await self.outbox.run()

    async def _keep_house(self) -> None:
        """Unfinished purges and retention, again and again until writing has failed."""
        while not self.failure:
            try:
                await self._purge_pending()
                await trio.sleep(self.settings.sweep_interval_ms / 1e3)
                self.metrics.swept(await self.sweep())
            except BrokerError:
                logger.exception("old records could not be removed; it is tried again")
                await trio.sleep(self.settings.sweep_interval_ms / 1e3)

    async def wait_failed(self) -> str:
        """Returns when writing has stopped for good, with the reason."""
        await self.log.failure.wait()
        return str(self.log.failed)


@asynccontextmanager
async def open(  # noqa: A001 - the library's verb: broker.open(...)
    path: str | Path,
    *,
    settings: BrokerSettings | None = None,
    clock: Clock = wall_clock,
    accept_loss: bool = False,
    create_app: bool = True,
    hold_connections: bool = True,
    transports: Mapping[str, Transport] | None = None,
    delivers: trio.Event | None = None,
) -> AsyncIterator[Broker]:
    """Open a data directory, creating it if need be; one without an app gets an app with a root
    key, unless `create_app` is false. With `hold_connections` it takes over from the process that
    had it open before, sees off the connections that one left (broker.live.epoch), and delivers
    notifications, through `transports` by transportType (broker.push.outbox): at once, or when
    `delivers` is set.

    Raises Unavailable if another process writes it, if acknowledged records are missing
    (`accept_loss` goes on without them), or if it is damaged.
    """
    settings = settings or BrokerSettings()
    async with AsyncExitStack() as stack:
        with mapped():
            opened = open_log(
                Path(path),
                broker_domain(),
                wall=clock,
                settings=settings.log,
                accept_loss=accept_loss,
            )
            log = await stack.enter_async_context(opened)
            keys = await trio.to_thread.run_sync(KeyFile, log.engine.path)
            stack.callback(keys.close)
            broker = Broker(log, keys, settings, clock, await _series(log))
            broker.outbox.attempts.transports.update(transports or {})
        if create_app:
            await _ensure_app(broker)
        if hold_connections:
            await broker.push.forget_strangers()
            await _begin_epoch(broker)
        if delivers is None:
            delivers = trio.Event()
            delivers.set()
        async with running(broker, delivers if hold_connections else None):
            yield broker


@asynccontextmanager
async def running(broker: Broker, delivers: trio.Event | None) -> AsyncIterator[None]:
    """A broker does its own work (see Broker.run) until the caller's is over."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(broker.run, delivers=delivers))
        try:
            yield
        except Exception as error:  # the caller's own: not to be wrapped in our nursery's group
            failure = error
        await broker.epoch.finish()
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _series(log: Log) -> str:
    """The log's series; a full log is opened without writing to it."""
    for _ in range(2):
        with log.view() as rows:
            series = tenancy.series(rows)
        if series is not None:
            return series
        await log.submit(administration.CreateLog(randomness.new_id()[:SERIES_CHARS]), app="")
    raise AssertionError("the log has no series")


async def _begin_epoch(broker: Broker) -> None:
    """A full log is opened without writing to it; the first connection tries again."""
    try:
        await broker.epoch.start()
    except BrokerError as error:
        logger.warning("connections cannot be held yet: %s", error)


async def _ensure_app(broker: Broker) -> None:
    if not broker.apps.list():
        await broker.apps.create(with_root_key=True)
