"""Occupancy told to attachments that asked for it: now, and whenever it changes (params occupancy,
[meta]occupancy; reference 3.9).
"""

from collections.abc import Callable
from functools import partial

import msgspec

from api.realtime.attachment import Attachment
from api.realtime.protocol import Action
from api.realtime.wiring import Wiring
from broker.channels import meta
from broker.channels.occupancy import Occupancy
from broker.live.occupancy_feed import EVERY_CHANNEL
from broker.messages.wire import ACTION_META

NAME = "[meta]occupancy"


class OccupancyReports:
    """Of one connection."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._stops: dict[str, Callable[[], None]] = {}

    def start(self, attachment: Attachment) -> None:
        base = attachment.base
        everywhere = base.qualifier == meta.QUALIFIER and base.name == meta.OCCUPANCY
        if "occupancy" not in attachment.params and not everywhere:
            return
        feed, app = self._wiring.broker.epoch.occupancy, self._wiring.app
        channel = EVERY_CHANNEL if everywhere else base.name
        told = partial(self._tell, attachment)
        feed.add(app, channel, told)
        self._stops[attachment.name] = partial(feed.remove, app, channel, told)
        if not everywhere:
            told(channel, feed.now(app, channel))

    def stop(self, attachment: Attachment) -> None:
        stop = self._stops.pop(attachment.name, None)
        if stop is not None:
            stop()

    def _tell(self, attachment: Attachment, channel: str, now: Occupancy) -> None:
        metrics = msgspec.to_builtins(now)
        if channel != attachment.base.name:
            told = {"channelId": channel, "status": {"occupancy": {"metrics": metrics}}}
        else:
            told = {"metrics": _asked_metrics(metrics, attachment.params["occupancy"])}
        timestamp = self._wiring.broker.time_ms()
        message = {
            "id": f"occupancy:{timestamp}:0",
            "name": NAME,
            "action": ACTION_META,
            "data": msgspec.json.encode(told).decode(),
            "encoding": "json",
            "timestamp": timestamp,
        }
        attachment.forget_base()
        self._wiring.send(
            {"action": Action.MESSAGE, "channel": attachment.name, "messages": [message]}
        )


def _asked_metrics(metrics: dict[str, int], asked: str) -> dict[str, int]:
    """`metrics` is all of them, `metrics.publishers` that one."""
    category = asked.partition(".")[2]
    return {category: metrics[category]} if category in metrics else metrics
