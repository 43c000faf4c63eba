"""When a delivery is tried again, when given up, and that nobody waits for another's provider.

`nothing_happens` is no wait for a time: it lets the writer, the hub and the outbox run until
whatever could be under way would have come to an end.
"""

import pytest
import trio

from broker import randomness
from broker.push.attempts import RETRY_MS
from broker.push.lanes import AT_ONCE, FAILURES_TO_OPEN, OPEN_S_MIN
from broker.push.outbox import PUBLISHES_AT_ONCE
from broker.push.pages import LEASE_MS, PAGE_PATIENCE_S
from broker.push.transport import SENT, Verdict
from tests.broker.acting import Time
from tests.broker.push_outbox.delivering import CHANNEL, Delivering
from tests.broker.push_outbox.gateway import address, trouble

pytestmark = pytest.mark.timeout(60)


async def test_a_retry_has_the_same_id_and_is_not_early(outbox: Delivering, time: Time) -> None:
    await outbox.register("a")
    outbox.gateway.says("a", trouble(), trouble(), trouble())
    await outbox.notify(device_id="a")
    for made in range(1, 4):
        await outbox.until_waits(a=made)
        wait_ms = outbox.due()[0].at_ms - time.wall()
        assert 1 <= wait_ms <= RETRY_MS * 2 ** (made - 1)
        await outbox.passes_until_tried(made + 1)
    await outbox.until_delivered()
    assert len(outbox.gateway.got) == 4
    assert len({outgoing.id for outgoing in outbox.gateway.got}) == 1


async def test_waits_grow(outbox: Delivering, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(randomness, "jitter", lambda: 0.5)
    outbox.gateway.says("a", *[trouble()] * 4)
    await outbox.notify(recipient=address("a"))
    waits = []
    for made in range(1, 5):
        await outbox.until_waits(**{"": made})
        waits.append(outbox.due()[0].at_ms - time.wall())
        await outbox.passes_until_tried(made + 1)
    assert waits == [501, 1_001, 2_001, 4_001]


async def test_a_provider_is_not_asked_before_the_time_it_said(
    outbox: Delivering, time: Time
) -> None:
    outbox.gateway.says("a", trouble(retry_after_ms=7_000))
    await outbox.notify(recipient=address("a"))
    await outbox.until(lambda: len(outbox.due()) == 1)
    await time.passes(6_900, outbox)
    await outbox.nothing_happens()
    assert len(outbox.gateway.got) == 1
    await outbox.passes_until_delivered()
    assert len(outbox.gateway.got) == 2


async def test_nobody_is_sent_what_expired_while_it_waited(outbox: Delivering, time: Time) -> None:
    """The last wait would end after the notification's time, so it is over at once."""
    await outbox.register("a")
    outbox.gateway.says("a", *[trouble(retry_after_ms=1_000_000)] * 10)
    await outbox.notify(device_id="a", ttl_ms=2_900_000)
    await outbox.passes_until_delivered()
    assert len(outbox.gateway.got) == 3
    assert outbox.standing("a") == ("FAILING", 3)
    error = outbox.device("a").error
    assert error is not None
    assert error["code"] == 103001
    assert outbox.broker.outbox.counts[Verdict.REJECTED] == 1


async def test_a_circuit_opens_for_all_of_an_endpoint(outbox: Delivering, time: Time) -> None:
    """Half open it lets one through; then all are delivered, and no device is blamed for it."""
    outbox.gateway.always["e"] = trouble(retry_after_ms=1)
    for _ in range(FAILURES_TO_OPEN):
        await outbox.notify(recipient=address("x"))
    await outbox.passes_until(lambda: bool(outbox.broker.outbox.attempts.lanes.open_circuits))
    await outbox.nothing_happens()
    before = len(outbox.gateway.got)
    await outbox.registered("a", "b", "c")
    await outbox.notify(channel=CHANNEL)
    await outbox.until(lambda: {"a", "b", "c"} <= outbox.waits().keys())
    await time.passes(int(OPEN_S_MIN * 900), outbox)
    await outbox.nothing_happens()
    assert len(outbox.gateway.got) == before
    assert {outbox.standing(name) for name in "abc"} == {("ACTIVE", 0)}
    outbox.gateway.always["e"] = SENT
    await outbox.passes_until_delivered()
    assert {"a", "b", "c", "x"} == set(outbox.gateway.names()[before:])
    assert outbox.broker.outbox.attempts.lanes.open_circuits == []


async def test_another_endpoint_does_not_notice(outbox: Delivering, time: Time) -> None:
    outbox.gateway.always["down"] = trouble(retry_after_ms=1)
    await outbox.registered("a", "b", "c", "d", "e", "f", endpoint="down")
    await outbox.registered("well", endpoint="up")
    await outbox.notify(channel=CHANNEL)
    await outbox.until(lambda: "well" in outbox.gateway.names())
    await outbox.passes_until(lambda: outbox.broker.outbox.attempts.lanes.open_circuits == ["down"])
    await outbox.notify(device_id="well")
    await outbox.until(lambda: outbox.gateway.names().count("well") == 2)


async def test_one_slow_provider_holds_nobody(outbox: Delivering, time: Time) -> None:
    """Its devices of a page are written down and the page goes on; what they answer in the end is
    settled, and they are not asked twice."""
    answer = trio.Event()
    outbox.gateway.always["slow"] = answer
    slow = [f"s{number}" for number in range(10)]
    await outbox.registered(*slow, endpoint="slow")
    await outbox.registered("quick", endpoint="up")
    await outbox.notify(channel=CHANNEL)
    await outbox.gateway.until(11)
    await outbox.notify(device_id="quick")
    await outbox.until(lambda: outbox.gateway.names().count("quick") == 2)
    assert outbox.waits() == {}
    await time.passes(int(PAGE_PATIENCE_S * 1_000), outbox)
    await outbox.until(lambda: outbox.waits() == dict.fromkeys(slow, 0))
    answer.set()
    await outbox.until_delivered()
    await time.passes(LEASE_MS, outbox)
    await outbox.nothing_happens()
    assert len(outbox.gateway.got) == 12


async def test_many_notifications_for_a_slow_provider_hold_nobody(
    outbox: Delivering, time: Time
) -> None:
    """There is less patience with a page while others queue."""
    answer = trio.Event()
    outbox.gateway.always["slow"] = answer
    await outbox.registered("s", endpoint="slow")
    await outbox.registered("quick", endpoint="up")
    turns = 5
    for _ in range(turns * PUBLISHES_AT_ONCE):
        await outbox.notify(device_id="s")
    await outbox.notify(device_id="quick")
    begun_ms = time.wall()
    while "quick" not in outbox.gateway.names():
        await time.passes(100, outbox)
    # Time goes on while the outbox reads, on a slow machine more than once in a turn.
    assert time.wall() - begun_ms < turns * PAGE_PATIENCE_S * 1_000 / 2
    answer.set()


async def test_what_is_still_under_way_is_not_tried_beside_it(
    outbox: Delivering, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes: a lease is for what a crash left behind."""
    monkeypatch.setattr("broker.push.pages.LEASE_MS", 100)
    answer = trio.Event()
    outbox.gateway.says("a", answer)
    await outbox.notify(recipient=address("a"))
    await outbox.gateway.until(1)
    await time.passes(int(PAGE_PATIENCE_S * 1_000), outbox)
    await outbox.until_waits(**{"": 0})
    for _ in range(5):
        await time.passes(500, outbox)
    await outbox.nothing_happens()
    assert len(outbox.gateway.got) == 1
    answer.set()
    await outbox.until_delivered()


async def test_no_more_than_so_many_at_one_endpoint(outbox: Delivering, time: Time) -> None:
    answer = trio.Event()
    outbox.gateway.always["e"] = answer
    for number in range(AT_ONCE + 10):
        await outbox.notify(recipient=address(f"a{number}"))
    await outbox.gateway.until(AT_ONCE)
    await outbox.nothing_happens()
    assert outbox.gateway.under_way["e"] == AT_ONCE
    answer.set()
    await outbox.passes_until_delivered()
    assert outbox.gateway.most_under_way["e"] == AT_ONCE
    assert len(outbox.gateway.got) == AT_ONCE + 10


async def test_no_more_than_so_many_are_tried_again_at_once(
    outbox: Delivering, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else happens while they are; and the others have their turn."""
    monkeypatch.setattr("broker.push.retries.TRIED_AGAIN_AT_ONCE", 3)
    answer = trio.Event()
    for number in range(8):
        outbox.gateway.says(f"a{number}", trouble(retry_after_ms=1), answer)
        await outbox.notify(recipient=address(f"a{number}", endpoint=f"e{number}"))
    await outbox.until(lambda: len(outbox.due()) == 8)
    await outbox.passes_until_tried(8 + 3)
    for number in range(5):
        await outbox.notify(recipient=address(f"b{number}", endpoint="b"))
        await outbox.nothing_happens()
    assert sum(outbox.gateway.under_way.values()) == 3
    answer.set()
    await outbox.passes_until_delivered()
    assert len(outbox.gateway.got) == 8 + 8 + 5
