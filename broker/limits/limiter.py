"""The limits of a running broker: who may publish, ask and connect how much, and who was refused.

Judged before anything is appended. What is refused takes nothing from any bucket: a client that
goes on trying is let in as soon as there is room, and does not use up what is others'. A bound is
that of the app, key or namespace, where it has one, and else the setting's; 0 is none.

`is_on` is False until anything is bounded, and then callers ask nothing: that is what limits cost
that nobody has set. It stays on when the last bound is taken back, until the next start or reload.
What the embedding program itself publishes is not limited.

Counted in this process: with several of them, each grants the whole.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import trio

from broker import tenancy
from broker.auth.credentials import IN_PROCESS, Principal
from broker.events import LimitsSet, NamespaceSet
from broker.limits.buckets import Buckets
from broker.limits.only_if_known import only_if_known
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


class _Bound(NamedTuple):
    """So much a second of `whose`. `counts_bytes`: of payload, else of messages or requests."""

    limit: str
    buckets: Buckets
    whose: Hashable
    per_s: int
    counts_bytes: bool = False


Whose = tuple[str, ...]
"""Who asks, and for what: the bounds of each are looked up once, until something changes."""


class RateLimits:
    def __init__(
        self,
        settings: RateLimitSettings,
        view: Callable[[], AbstractContextManager[Rows]],
        rules: RulesCache,
    ) -> None:
        self.refused: Counter[str] = Counter()
        self.is_on = False
        self._view = view
        self._rules = rules
        self._settings = settings
        self._buckets: dict[str, Buckets] = {}
        self._bounds: dict[Whose, list[_Bound]] = {}
        self.configure(settings)

    @property
    def buckets(self) -> int:
        """How many are kept."""
        return sum(map(len, self._buckets.values()))

    def configure(self, settings: RateLimitSettings) -> None:
        """Other settings, from now on; buckets begin full."""
        self._settings = settings
        self._bounds.clear()
        burst_s = settings.burst_ms / 1_000
        self._buckets = {name: Buckets(burst_s, settings.buckets_max) for name in LIMITS}
        with mapped(), self._view() as rows:
            self.is_on = settings.limits_anything or tenancy.limits_anything(rows)

    def changed(self, record: Record) -> None:
        """Something in the system log: limits may be others now. After the rules were cleared."""
        self._bounds.clear()
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
        bounds = self._of_publish(principal, asked)
        over = self._take(bounds, asked.messages, asked.size_bytes)
        if over is None:
            return command
        if asked.may_be_known:
            return only_if_known(command, over)
        raise over.error

    def request(self, app: str, key_name: str) -> None:
        """A request over HTTP. Raises Overloaded 42918, 42910."""
        if self.is_on:
            _raise(self._take(self._of_request(app, key_name), 1))

    def check_request(self, app: str, key_name: str) -> None:
        """As `request`, for one whose credentials are not checked yet: it takes nothing."""
        if self.is_on:
            _raise(self._over(self._of_request(app, key_name), 1, 0, trio.current_time()))

    def took_request(self, app: str, key_name: str) -> None:
        """A request that was checked, and is served."""
        if self.is_on:
            _charge(self._of_request(app, key_name), 1, 0, trio.current_time())

    def frames(self, connection: str, count: int) -> None:
        """What one read of a connection brought. Raises Overloaded 42924: it should end."""
        if self._settings.connection_frames_per_s:
            _raise(self._take([self._bound("connection_frames_per_s", connection)], count))

    def connection(self, app: str, held: int) -> None:
        """One more, where `held` are held. Raises BrokerError 40111."""
        if not self.is_on:
            return
        bound = _first(self._limits(app).connections_max, self._settings.app_connections_max)
        if bound and held >= bound:
            self.refused[CONNECTIONS] += 1
            raise too_many_connections(bound)

    def _of_publish(self, principal: Principal, asked: Publish) -> list[_Bound]:
        app, key = principal.app_id, principal.key_name
        known = self._bounds.get((app, key, asked.channel, asked.connection or ""))
        if known is not None:
            return known
        of_app, of_key = self._limits(app), self._limits(app, key)
        rules = self._rules.get(app, asked.channel)
        scopes = (
            ("app", app, of_app.messages_per_s, of_app.bytes_per_s),
            ("key", key, of_key.messages_per_s, of_key.bytes_per_s),
            ("channel", (app, asked.channel), rules.messages_per_s, rules.bytes_per_s),
            ("connection", asked.connection, None, None),
        )
        bounds = [
            self._bound(f"{scope}_{what}_per_s", whose, own)
            for scope, whose, *owns in scopes
            for what, own in zip(("messages", "bytes"), owns, strict=True)
            if whose is not None
        ]
        return self._keep((app, key, asked.channel, asked.connection or ""), bounds)

    def _of_request(self, app: str, key: str) -> list[_Bound]:
        known = self._bounds.get((app, key))
        if known is not None:
            return known
        of_app, of_key = self._limits(app), self._limits(app, key)
        bounds = [
            self._bound("app_requests_per_s", app, of_app.requests_per_s),
            self._bound("key_requests_per_s", key, of_key.requests_per_s),
        ]
        return self._keep((app, key), bounds)

    def _keep(self, whose: Whose, bounds: list[_Bound]) -> list[_Bound]:
        if len(self._bounds) >= KNOWN_MAX:
            self._bounds.clear()
        kept = self._bounds[whose] = [bound for bound in bounds if bound.per_s]
        return kept

    def _bound(self, limit: str, whose: Hashable, own: int | None = None) -> _Bound:
        per_s = _first(own, getattr(self._settings, limit))
        return _Bound(limit, self._buckets[limit], whose, per_s, "_bytes_" in limit)

    def _limits(self, app: str, key_name: str = "") -> Limits:
        with mapped(), self._view() as rows:
            return tenancy.limits(rows, app, key_name.rpartition(".")[2])

    def _take(self, bounds: list[_Bound], count: int, size_bytes: int = 0) -> Over | None:
        """All of it, or nothing and the limit that is in the way for longest."""
        now_s = trio.current_time()
        over = self._over(bounds, count, size_bytes, now_s)
        if over is None:
            _charge(bounds, count, size_bytes, now_s)
        return over

    def _over(self, bounds: list[_Bound], count: int, size_bytes: int, now_s: float) -> Over | None:
        worst: _Bound | None = None
        longest_s = 0.0
        for bound in bounds:
            amount = size_bytes if bound.counts_bytes else count
            if not amount:
                continue
            wait_s = bound.buckets.wait_s(bound.whose, amount, bound.per_s, now_s)
            if wait_s > longest_s:
                worst, longest_s = bound, wait_s
        if worst is None:
            return None
        self.refused[worst.limit] += 1
        return Over(worst.limit, worst.per_s, longest_s)


def _charge(bounds: list[_Bound], count: int, size_bytes: int, now_s: float) -> None:
    for bound in bounds:
        amount = size_bytes if bound.counts_bytes else count
        if amount:
            bound.buckets.take(bound.whose, amount, bound.per_s, now_s)


def _raise(over: Over | None) -> None:
    if over is not None:
        raise over.error


def _first(own: int | None, default: int) -> int:
    return default if own is None else own
