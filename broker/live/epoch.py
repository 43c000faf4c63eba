"""What one run of the process holds in memory: the hub, the timers, the connections, the usage of
this minute.

All of it can be lost at any moment; the next epoch begins from the log. Owns the tasks behind it.
"""

import logging

import trio

from broker.event import Kind
from broker.limits.limiter import RateLimits
from broker.live.app_log import AppLog
from broker.live.attach_point import AttachPoints
from broker.live.background import Background
from broker.live.channel_counts import ChannelCounts
from broker.live.connections import Connections
from broker.live.hub import Hub
from broker.live.idle_channels import IdleChannels
from broker.live.occupancy_feed import OccupancyFeed
from broker.live.timers import Timers
from broker.rules_cache import RulesCache
from broker.settings import BrokerSettings
from broker.stats.activity import Activity
from broker.stats.recorder import Recorder
from broker.stats.worker_recorder import WorkerRecorder
from storage import LocalLog, Log, StorageError

logger = logging.getLogger("tidelog.broker")


class Epoch:
    """What must be done once, though several processes share the log, is done by the one that
    writes it: counting what is in the log, closing channels."""

    def __init__(self, log: Log, settings: BrokerSettings, series: str) -> None:
        self.attach_points = AttachPoints(log, series)
        self.hub = Hub(log)
        self.timers = Timers()
        self.background = Background(log, self.timers)
        self.connections = Connections(log, self.hub, self.timers, self.background, settings)
        self.occupancy = OccupancyFeed(
            log, self.hub, self.timers, self.connections, settings.occupancy_pause_ms
        )
        self.rules = RulesCache(log.view)
        self.hub.watch(Kind.SYSTEM, lambda _: self.rules.clear())
        self.rate_limits = RateLimits(settings.rate_limits, log.view, self.rules)
        self.hub.watch(Kind.SYSTEM, self.rate_limits.changed)
        self.app_log = AppLog(self.timers, self.background, settings.app_log_reports_max)
        self._idle = IdleChannels(
            log, self.hub, self.timers, self.background, self.connections, settings.channel_idle_ms
        )
        self.activity = Activity()
        self.stats = Recorder(
            log, self.timers, self.activity, lambda *channel: self.rules.get(*channel).persisted
        )
        self.channel_counts = ChannelCounts(log, self.hub, self.timers, self.activity)
        self._worker_stats = WorkerRecorder(log, self.timers, self.activity)
        self._leads = isinstance(log, LocalLog)
        self.connections.on_start = self._started

    async def start(self) -> None:
        """Take over from the last epoch. Raises Unavailable when the log takes no writes."""
        await self.connections.start()
        await self.stats.settled()

    def join(self, epoch: int) -> None:
        """Begin beside others; `epoch` was given to this process."""
        self.connections.join(epoch)

    def _started(self) -> None:
        if self._leads:
            self._idle.start()
            self.stats.start()
        else:
            self._worker_stats.start()

    async def finish(self) -> None:
        """Put into the log what only this process knows; the next one begins from there."""
        await self._recorder.finish()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.timers.run)
            nursery.start_soon(self._deliver)
            nursery.start_soon(self._recorder.run)

    @property
    def _recorder(self) -> Recorder | WorkerRecorder:
        return self.stats if self._leads else self._worker_stats

    async def _deliver(self) -> None:
        try:
            await self.hub.run()
        except StorageError:
            logger.critical("delivery ends: the log cannot be tailed", exc_info=True)
        finally:
            self.hub.close()
