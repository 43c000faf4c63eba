"""The checker finds each kind of violation: by brokers that do one thing wrong in a whole run, and
one at a time in a ledger."""

import pytest

from bench.load.body import body
from bench.load.instant import Instant
from bench.load.latency import Latencies
from bench.load.ledger import Ledger
from bench.load.workloads import WORKLOADS
from tests.bench.load.brokers import Faulty, Haunted, short


def forget(broker: Faulty, channel: str, sent: bytes) -> None:
    """Acknowledged, and gone."""


def keep_only(broker: Faulty, channel: str, sent: bytes) -> None:
    broker.keep(channel, sent)


def deliver_only(broker: Faulty, channel: str, sent: bytes) -> None:
    broker.deliver(channel, sent)


def deliver_twice(broker: Faulty, channel: str, sent: bytes) -> None:
    broker.keep(channel, sent)
    broker.deliver(channel, sent)
    broker.deliver(channel, sent)


def keep_twice(broker: Faulty, channel: str, sent: bytes) -> None:
    broker.keep(channel, sent)
    broker.keep(channel, sent)
    broker.deliver(channel, sent)


def hold_back(broker: Faulty, channel: str, sent: bytes) -> None:
    broker.held = channel, sent


def garble(broker: Faulty, channel: str, sent: bytes) -> None:
    broker.keep(channel, sent)
    broker.deliver(channel, b"x" + sent[1:])


def misdirect(broker: Faulty, channel: str, sent: bytes) -> None:
    broker.keep(channel, sent)
    other = next(name for name in broker.receivers if name != channel)
    broker.deliver(channel, sent)
    broker.deliver(other, sent)


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        (forget, {"gap": 1, "history: gap": 1}),
        (keep_only, {"gap": 1}),
        (deliver_only, {"history: gap": 1}),
        (deliver_twice, {"duplicate": 1}),
        (keep_twice, {"history: duplicate": 1}),
        (hold_back, {"order": 1, "history: order": 1}),
        (garble, {"invented": 1, "gap": 1}),
        (misdirect, {"invented": 1}),
    ],
)
def test_a_broker_that_does_one_thing_wrong(fault, kinds: dict[str, int]) -> None:
    result = short(Faulty(fault))
    assert result.checked.violations == kinds, result.checked
    assert not result.checked.is_right
    assert len(result.checked.examples) == sum(kinds.values())


@pytest.mark.parametrize("workload", [name for name in WORKLOADS if name != "push"])
def test_a_broker_that_does_nothing_wrong(workload: str) -> None:
    few = {"rate": 300.0, "stored": 30 if workload == "history" else 0}
    checked = short(Instant(), workload, **few).checked
    assert checked.is_right, checked
    assert checked.acknowledged
    assert checked.unknown == checked.refused == 0


def test_a_member_that_stays_is_a_ghost() -> None:
    result = short(Haunted(), "presence", publishers=4)
    assert set(result.checked.violations) == {"ghost"}


def test_what_comes_last_is_lost_and_not_a_gap() -> None:
    ledger, seen, stream = one_reader()
    for sequence in range(3):
        assert stream.next() == sequence
        stream.acknowledge(sequence)
    seen.take(body(0, 0, 0))
    assert ledger.missing() == 2
    ledger.finish()
    assert ledger.checked().violations == {"lost": 2}


def test_what_is_unknown_may_come_or_not_but_once() -> None:
    for times, kinds in ((0, {}), (1, {}), (2, {"duplicate": 1})):
        ledger, seen, stream = one_reader()
        stream.fail(stream.next(), "unknown")
        stream.acknowledge(stream.next())
        for _ in range(times):
            seen.take(body(0, 0, 0))
        seen.take(body(0, 1, 0))
        assert ledger.missing() == 0
        ledger.finish()
        assert ledger.checked().violations == kinds
        assert ledger.checked().unknown == 1


def test_what_is_refused_must_not_come() -> None:
    ledger, seen, stream = one_reader()
    stream.fail(stream.next(), "refused")
    seen.take(body(0, 0, 0))
    ledger.finish()
    assert ledger.checked().violations == {"refused": 1}


def test_what_was_missed_while_cut_off_is_forgiven_and_nothing_else() -> None:
    ledger, seen, stream = one_reader()
    for _ in range(6):
        stream.acknowledge(stream.next())
        if stream.sent == 1:
            seen.take(body(0, 0, 0))
        if stream.sent == 3:
            seen.forgive()
    assert ledger.missing() == 3
    seen.take(body(0, 2, 0))
    seen.take(body(0, 4, 0))
    ledger.finish()
    assert ledger.checked().violations == {"gap": 1, "lost": 1}


def test_what_is_sent_later_is_invented_now() -> None:
    ledger, seen, stream = one_reader()
    seen.take(body(0, 0, 0))
    stream.acknowledge(stream.next())
    ledger.finish()
    assert ledger.checked().violations == {"invented": 1, "lost": 1}


def test_a_page_of_history() -> None:
    newest_first = [body(0, sequence, 0) for sequence in (4, 3, 2)]
    cases = [
        (newest_first, 3, {}),
        (newest_first, 4, {}),
        (newest_first[1:], 2, {"history: lost": 1}),
        ([newest_first[0], newest_first[2]], 2, {"history: gap": 1}),
        ([newest_first[0], *newest_first], 4, {"history: duplicate": 1}),
        ([newest_first[1], newest_first[0]], 2, {"history: duplicate": 1}),
        ([], 3, {"history: lost": 1}),
    ]
    for page, limit, kinds in cases:
        ledger, _, stream = one_reader()
        for _ in range(5):
            stream.acknowledge(stream.next())
        ledger.check_page("a", page, limit, [(stream, 4)])
        assert ledger.checked().violations == kinds, page


def one_reader():
    ledger = Ledger()
    stream = ledger.stream("a")
    return ledger, ledger.reader("a", "subscriber 0", Latencies()), stream
