"""The limits of a running broker: who may publish, ask and connect how much, and who was refused.

Judged before anything is appended. What is refused takes nothing from any bucket: a client that
goes on trying is let in as soon as there is room, and does not use up what is others'. A bound is
that of the app, key or namespace, where it has one, and else the setting's; 0 is none.

`is_on` is False until anything is bounded, and then callers ask nothing: that is what limits cost
that nobody has set. What the embedding program itself publishes is not limited.

Counted in this process: with several of them, each grants the whole.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import trio

from broker import tenancy
from broker.auth.credentials import IN_PROCESS, Principal
from broker.events import LimitsSet, NamespaceSet
from broker.limits.buckets import Buckets
from broker.limits.only_if_known import OnlyIfKnown
from broker.limits.over import CONNECTIONS, LIMITS, Over, too_many_connections
from broker.limits.settings import RateLimitSettings
from broker.rules_cache import RulesCache
from broker.storage_errors import mapped
from broker.tenancy import Limits
from storage import Record, Rows

KNOWN_MAX = 10_000


class Publish(NamedTuple):
    """What is to be published, for its limits. `may_be_known`: it may have been accepted before."""

    channel: str
    messages: int
    size_bytes: int
    connection: str | None = None
    may_be_known: bool = False


class _Asked(NamedTuple):
    """So much of one limit; `bound`: 0 is none."""

    limit: str
    whose: Hashable
    amount: int
    bound: int


class RateLimits:
    def __init__(
        self,
        settings: RateLimitSettings,
        view: Callable[[], AbstractContextManager[Rows]],
        rules: RulesCache,
    ) -> None:
        self.refused: Counter[str] = Counter()
        self._view = view
        self._rules = rules
        self._limits: dict[tuple[str, str], Limits] = {}
        self._settings = settings
        self._buckets: dict[str, Buckets] = {}
        self.is_on = False
        self.configure(settings)
        with mapped(), view() as rows:
            self.is_on = self.is_on or tenancy.limits_anything(rows)

    @property
    def buckets(self) -> int:
        """How many are kept."""
        return sum(map(len, self._buckets.values()))

    def configure(self, settings: RateLimitSettings) -> None:
        """Other settings, from now on; buckets begin full."""
        self._settings = settings
        burst_s = settings.burst_ms / 1_000
        self._buckets = {name: Buckets(burst_s, settings.buckets_max) for name in LIMITS}
        self.is_on = self.is_on or settings.limits_anything

    def changed(self, record: Record) -> None:
        """Something in the system log: limits may be others now."""
        self._limits.clear()
        match record.event:
            case LimitsSet(limits=limits) if limits:
                self.is_on = True
            case NamespaceSet(rules=rules) if tenancy.RATE_RULES & rules.keys():
                self.is_on = True
            case _:
                pass

    def admit(self, principal: Principal, command: Any, asked: Publish) -> Any:
        """The command to append: the one given, or, where it is too much but may be a repeat, one
        that only succeeds if it is. Raises Overloaded."""
        if not self.is_on or principal.key_name == IN_PROCESS:
            return command
        over = self._take(self._of_publish(principal, asked))
        if over is None:
            return command
        if asked.may_be_known:
            return OnlyIfKnown(command, over)
        raise over.error

    def request(self, app: str, key_name: str) -> None:
        """A request over HTTP. Raises Overloaded 42918, 42910."""
        if self.is_on:
            self._raise(self._take(self._of_request(app, key_name)))

    def check_request(self, app: str, key_name: str) -> None:
        """As `request`, for one whose credentials are not checked yet: it takes nothing."""
        if self.is_on:
            self._raise(self._over(self._of_request(app, key_name)))

    def took_request(self, app: str, key_name: str) -> None:
        """A request that was checked, and is served."""
        if self.is_on:
            self._charge(self._of_request(app, key_name))

    def frames(self, connection: str, count: int) -> None:
        """What one read of a connection brought. Raises Overloaded 42924: it should end."""
        if self.is_on:
            bound = self._settings.connection_frames_per_s
            self._raise(self._take([_Asked("connection_frames_per_s", connection, count, bound)]))

    def connection(self, app: str, held: int) -> None:
        """One more, where `held` are held. Raises BrokerError 40111."""
        if not self.is_on:
            return
        bound = _first(self._of(app).connections_max, self._settings.app_connections_max)
        if bound and held >= bound:
            self.refused[CONNECTIONS] += 1
            raise too_many_connections(bound)

    def _of_publish(self, principal: Principal, asked: Publish) -> Iterable[_Asked]:
        app, key = principal.app_id, principal.key_name
        of_app, of_key = self._of(app), self._of(app, key)
        rules = self._rules.get(app, asked.channel)
        channel = (app, asked.channel)
        bounds = (
            ("app", app, of_app.messages_per_s, of_app.bytes_per_s),
            ("key", key, of_key.messages_per_s, of_key.bytes_per_s),
            ("channel", channel, rules.messages_per_s, rules.bytes_per_s),
            ("connection", asked.connection, None, None),
        )
        for scope, whose, messages, size in bounds:
            if whose is not None:
                yield self._asked(f"{scope}_messages_per_s", whose, asked.messages, messages)
                yield self._asked(f"{scope}_bytes_per_s", whose, asked.size_bytes, size)

    def _of_request(self, app: str, key: str) -> Iterable[_Asked]:
        yield self._asked("app_requests_per_s", app, 1, self._of(app).requests_per_s)
        yield self._asked("key_requests_per_s", key, 1, self._of(app, key).requests_per_s)

    def _asked(self, limit: str, whose: Hashable, amount: int, own: int | None) -> _Asked:
        return _Asked(limit, whose, amount, _first(own, getattr(self._settings, limit)))

    def _of(self, app: str, key_name: str = "") -> Limits:
        found = self._limits.get((app, key_name))
        if found is None:
            with mapped(), self._view() as rows:
                found = tenancy.limits(rows, app, key_name.rpartition(".")[2])
            if len(self._limits) >= KNOWN_MAX:
                self._limits.clear()
            self._limits[app, key_name] = found
        return found

    def _take(self, asked: Iterable[_Asked]) -> Over | None:
        """All of it, or nothing and the limit that is in the way for longest."""
        wanted = list(asked)
        over = self._over(wanted)
        if over is None:
            self._charge(wanted)
        return over

    def _charge(self, asked: Iterable[_Asked]) -> None:
        now_s = trio.current_time()
        for limit, whose, amount, bound in asked:
            if bound and amount:
                self._buckets[limit].take(whose, amount, bound, now_s)

    def _over(self, wanted: Iterable[_Asked]) -> Over | None:
        now_s = trio.current_time()
        worst: Over | None = None
        for limit, whose, amount, bound in wanted:
            if not (bound and amount):
                continue
            wait_s = self._buckets[limit].wait_s(whose, amount, bound, now_s)
            if wait_s > (worst.wait_s if worst else 0.0):
                worst = Over(limit, bound, wait_s)
        if worst is not None:
            self.refused[worst.limit] += 1
        return worst

    def _raise(self, over: Over | None) -> None:
        if over is not None:
            raise over.error


def _first(own: int | None, default: int) -> int:
    return default if own is None else own
