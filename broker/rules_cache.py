"""The rules of channels' namespaces, kept in memory until anything in the system log changes."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from broker import tenancy
from broker.storage_errors import mapped
from broker.tenancy import NamespaceRules
from storage import Rows

CHANNELS_MAX = 10_000


class RulesCache:
    def __init__(self, view: Callable[[], AbstractContextManager[Rows]]) -> None:
        self._view = view
        self._rules: dict[tuple[str, str], NamespaceRules] = {}

    def get(self, app: str, channel: str) -> NamespaceRules:
        found = self._rules.get((app, channel))
        if found is None:
            with mapped(), self._view() as rows:
                found = tenancy.rules(rows, app, channel)
            if len(self._rules) >= CHANNELS_MAX:
                self._rules.clear()
            self._rules[app, channel] = found
        return found

    def clear(self) -> None:
        self._rules.clear()
