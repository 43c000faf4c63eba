"""`[meta]log`: what was refused to an app's clients, told to those who look (reference 3.9).

An ephemeral stream of the app, so that it is kept for a while, and can be rewound. Bounded in rate:
a client that is refused again and again must not fill the disk; what was left out is counted.
"""

from collections import defaultdict
from functools import partial

import msgspec

from broker import randomness
from broker.channels import meta
from broker.errors import BrokerError
from broker.events import Kind, MessagePublished
from broker.live.background import Background
from broker.live.timers import Timers
from broker.messages.message import Message
from storage import Decision, Rows, Stream
from storage.projection import Decide

PERIOD_MS = 1_000


class Report(msgspec.Struct, frozen=True):
    app: str
    message: Message


def report(rows: Rows, command: Report, ms: int) -> Decision:
    stream = Stream(command.app, meta.log_key(command.app).channel, Kind.EPHEMERAL)
    return Decision([(stream, MessagePublished(command.message))])


DECIDE: dict[type, Decide] = {Report: report}


class AppLog:
    """At most `reports_max` reports of an app in a second."""

    def __init__(self, timers: Timers, background: Background, reports_max: int) -> None:
        self._timers = timers
        self._background = background
        self._reports_max = reports_max
        self._recent: defaultdict[str, int] = defaultdict(int)
        self.left_out = 0

    def refused(self, app: str, error: BrokerError, **context: str | None) -> None:
        """`context`: connectionId, clientId, channel; what is None is left out."""
        if self._recent[app] >= self._reports_max:
            self.left_out += 1
            return
        if not self._recent[app]:
            self._timers.schedule(PERIOD_MS, partial(self._period_over, app))
        self._recent[app] += 1
        known = {name: value for name, value in context.items() if value is not None}
        message = Message(
            id=f"{randomness.new_id()}:0:0",
            name="refused",
            data=msgspec.json.encode({"error": error.info, **known}).decode(),
            encoding="json",
        )
        self._background.post(app, Report(app, message))

    def _period_over(self, app: str) -> None:
        del self._recent[app]
