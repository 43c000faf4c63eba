"""How load is offered and timed: open loops, the generator's own limit, histograms, options."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random

import anyio
import pytest

from bench.load import lanes
from bench.load.arrival import moments
from bench.load.driver import Refused, Unknown
from bench.load.instant import Instant, InstantConnection
from bench.load.lanes import Overrun
from bench.load.latency import Latencies, decoded
from bench.load.measuring import limit_of, was_limit
from bench.load.options import BadOption, Options, spread
from bench.load.workloads import WORKLOADS
from tests.bench.load.brokers import short


@pytest.mark.parametrize("arrival", ["poisson", "constant"])
def test_arrivals_have_the_rate_and_are_the_same_again(arrival) -> None:
    print("seed 3")
    found = list(moments(arrival, 1_000, 10, Random(3)))
    assert found == list(moments(arrival, 1_000, 10, Random(3)))
    assert found == sorted(found)
    assert 9_500 < len(found) < 10_500
    assert found[-1] < 10_000_000_000
    gaps = {later - earlier for earlier, later in pairwise(found)}
    assert (len(gaps) < 5) == (arrival == "constant")


class Stalling(Instant):
    """The first publish takes half a second."""

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[InstantConnection]:
        yield _Stalling(self)


class _Stalling(InstantConnection):
    is_stalled = True

    async def publish(self, channel: str, body: bytes) -> None:
        if self.is_stalled:
            self.is_stalled = False
            await anyio.sleep(0.5)
        await super().publish(channel, body)


def test_a_stall_counts_for_all_that_was_due_meanwhile() -> None:
    """Not only for the one that stalled: that is what coordinated omission leaves out."""
    one = {"publishers": 1, "channels": 1, "subscribers": 0, "window": 1, "arrival": "constant"}
    result = short(Stalling(), "publish", rate=100, duration_s=0.6, patience_s=30, **one)
    histogram = decoded(result.latencies["acknowledged"].encoded)
    late = histogram.get_total_count() - _at_or_below(histogram, 100_000)
    assert late >= 35
    assert result.checked.is_right


def _at_or_below(histogram, value_us: int) -> int:
    return sum(
        item.count_added_in_this_iter_step
        for item in histogram.get_recorded_iterator()
        if item.value_iterated_to <= value_us
    )


class Refusing(Instant):
    """Every third publish is refused, every other third is lost with its connection."""

    turns = 0

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[InstantConnection]:
        yield _Refusing(self)


class _Refusing(InstantConnection):
    async def publish(self, channel: str, body: bytes) -> None:
        Refusing.turns += 1
        if Refusing.turns % 3 == 1:
            raise Refused("not this one")
        if Refusing.turns % 3 == 2:
            raise Unknown("gone")
        await super().publish(channel, body)


def test_refusals_are_counted_and_are_no_violation() -> None:
    checked = short(Refusing()).checked
    assert checked.is_right, checked
    assert min(checked.acknowledged, checked.refused, checked.unknown) > 0
    assert checked.reasons == {"not this one": checked.refused, "gone": checked.unknown}


class Silent(Instant):
    """Acknowledges nothing."""

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[InstantConnection]:
        yield _Silent(self)


class _Silent(InstantConnection):
    async def publish(self, channel: str, body: bytes) -> None:
        await anyio.sleep_forever()


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_broker_that_never_answers_ends_the_run(backend) -> None:
    checked = short(Silent(backend)).checked
    assert checked.violations == {"unanswered": 1}
    assert checked.unknown > 0


def test_a_rate_far_too_high_ends_before_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "WAITING_MAX", 10)
    with pytest.RaisesGroup(Overrun, flatten_subgroups=True):
        short(Silent(), rate=1_000.0, window=1)


@pytest.mark.parametrize(("name", "backend"), [("publish", "trio"), ("mixed", "asyncio")])
def test_the_generator_s_own_limit(name, backend) -> None:
    few = {"publishers": 2, "subscribers": 2, "channels": 2}
    workload = WORKLOADS[name]
    limit = limit_of(workload, workload.defaults.but(**few), backend)
    assert limit is not None
    assert limit > 0


def test_who_was_the_limit() -> None:
    assert not was_limit(busy=0.2, achieved=700, limit=1_000)
    assert was_limit(busy=0.2, achieved=900, limit=1_000)
    assert was_limit(busy=0.9, achieved=10, limit=1_000)
    assert not was_limit(busy=0.2, achieved=900, limit=None)
    assert limit_of(WORKLOADS["idle"], WORKLOADS["idle"].defaults, "trio") is None


def test_a_closed_loop_offers_no_rate() -> None:
    result = short(Instant(), "publish", rate=0.0)
    assert result.offered_per_s is None
    assert result.achieved_per_s > 0
    assert result.checked.is_right


def test_a_broker_that_lacks_something_is_not_put_under_load() -> None:
    class Mute(Instant):
        abilities = frozenset(("publish",))

    with pytest.raises(BadOption, match="instant cannot do fanout: no subscribe"):
        short(Mute(), "fanout")
    with pytest.raises(BadOption, match="needs a rate"):
        short(Instant(), "mixed", rate=0.0)


def test_latencies_keep_three_digits_and_their_bounds() -> None:
    latencies = Latencies()
    for us in range(1, 30_001):
        latencies.record(us * 1000)
    latencies.record(-5)
    latencies.record(10**18)
    found = latencies.result()
    assert found.count == 30_002
    assert found.p50_us == pytest.approx(15_000, rel=0.002)
    assert found.p99_us == pytest.approx(29_700, rel=0.002)
    assert found.max_us == pytest.approx(3_600_000_000, rel=0.002)
    assert decoded(found.encoded).get_total_count() == found.count


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": 5}, "--size"),
        ({"rate": -1.0}, "--rate"),
        ({"duration_s": 0}, "--duration"),
        ({"arrival": "uniform"}, "--arrival"),
        ({"channels": 10**9}, "--channels"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_options_that_make_no_sense(changes, said: str) -> None:
    with pytest.raises(BadOption, match=said):
        Options().but(**changes)


def test_connections_cover_channels_evenly() -> None:
    for connections in range(1, 12):
        for channels in range(1, 12):
            shares = spread(connections, channels)
            assert len(shares) == connections
            covered = [one for share in shares for one in share]
            counts = [covered.count(one) for one in range(channels)]
            assert min(counts) >= 1
            assert max(counts) - min(counts) <= 1
