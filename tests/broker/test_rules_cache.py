"""Rules in memory: as the system log has them, read once, and never more than the bound."""

from collections.abc import AsyncIterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import broker
from broker import Broker, rules_cache
from broker.rules_cache import RulesCache
from broker.tenancy import NamespaceRules
from tests.broker.acting import Acting
from tests.broker.conftest import FakeClock


@pytest.fixture
async def b(path: Path, clock: FakeClock) -> AsyncIterator[Broker]:
    async with broker.open(path, clock=clock) as opened:
        yield opened


async def test_a_change_counts_once_it_was_handed_on(b: Broker) -> None:
    app, rules = b.default_app(), b.epoch.rules
    assert not rules.get(app, "n:c").identified
    await b.apps.set_namespace(app, "n", NamespaceRules(identified=True))
    await Acting(b).settled()
    assert rules.get(app, "n:c").identified
    assert not rules.get(app, "m:c").identified
    await b.apps.remove_namespace(app, "n")
    await Acting(b).settled()
    assert not rules.get(app, "n:c").identified


async def test_rules_are_read_once_within_bounds(
    b: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules_cache, "CHANNELS_MAX", 3)
    reads = 0

    @contextmanager
    def counted() -> Any:
        nonlocal reads
        reads += 1
        with b.log.view() as rows:
            yield rows

    cache, app = RulesCache(counted), b.default_app()
    for _ in range(5):
        for channel in "abc":
            cache.get(app, channel)
    assert reads == 3
    for number in range(20):
        cache.get(app, str(number))
        assert len(cache._rules) <= 3
