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
from broker.event import Kind
from broker.events import MessagePublished
from broker.live.background import Background
from broker.live.timers import Timers
from broker.messages.message import Message
from storage import Decision, Rows, Stream
from storage.projection import Decide

PERIOD_MS = 1_000


class Report(msgspec.Struct, frozen=True):
    """`log`: which of the app's logs it is for."""

    app: str
    message: Message
    log: str = meta.LOG


def report(rows: Rows, command: Report, ms: int) -> Decision:
    channel = meta.log_key(command.app, command.log).channel
    stream = Stream(command.app, channel, Kind.EPHEMERAL)
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
        known = {name: value for name, value in context.items() if value is not None}
        self.tell(app, meta.LOG, "refused", {"error": error.info, **known})

    def tell(self, app: str, log: str, name: str, data: dict[str, object]) -> None:
        """A message on one of the app's logs, unless there were too many lately."""
        if self._recent[app] >= self._reports_max:
            self.left_out += 1
            return
        if not self._recent[app]:
            self._timers.schedule(PERIOD_MS, partial(self._period_over, app))
        self._recent[app] += 1
        message = Message(
            id=f"{randomness.new_id()}:0:0",
            name=name,
            data=msgspec.json.encode(data).decode(),
            encoding="json",
        )
        self._background.post(app, Report(app, message, log))

    def _period_over(self, app: str) -> None:
        del self._recent[app]
