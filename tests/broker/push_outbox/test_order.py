"""Matrix pushers are told of notifications in the order of publishes, whatever happens to each; all
others as it comes.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from broker.event import Kind
from broker.push import order
from broker.push.attempts import ATTEMPT_S_MAX
from broker.push.events import ABLY, BEAMS, MATRIX, MATRIX_CHANNELS, Selector
from broker.push.lifetime import TTL_MS_MAX
from broker.push.outbox import PUBLISHES_AT_ONCE
from broker.push.outbox_log import PublishRow
from broker.push.pages import LEASE_MS, PAGE_PATIENCE_S
from broker.push.rows import digest
from storage.serial import pack
from tests.broker.acting import Time
from tests.broker.conftest import START_MS
from tests.broker.push_outbox.delivering import CHANNEL, Delivering, delivering
from tests.broker.push_outbox.gateway import Gateway, dead, misconfigured, rejected, trouble

pytestmark = pytest.mark.timeout(120)


async def notify(b: Delivering, *numbers: int, **to: object) -> None:
    for number in numbers:
        await b.notify({"number": number}, **(to or {"device_id": "m"}))


def told(gateway: Gateway) -> dict[str, list[int]]:
    """The numbers of the attempts that arrived, by address."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for one in gateway.got:
        found[str(one.recipient["address"])].append(one.payload["number"])
    return found


async def soon(b: Delivering, is_so: Callable[[], bool]) -> None:
    """Before an attempt that has no answer is given up. Time goes on when what was due by then has
    been looked at: the threads that read the log may be slower."""
    began = trio.current_time()
    while not is_so():
        await b.time.passes(250, b)
        await b.until(lambda: all(due_ms >= b.time.wall() for due_ms, _ in b.due()))
        assert trio.current_time() < began + ATTEMPT_S_MAX


async def test_the_next_waits_for_the_answer(outbox: Delivering, time: Time) -> None:
    answers = [trio.Event() for _ in range(4)]
    outbox.gateway.says("m", *answers)
    await outbox.register("m", api=MATRIX)
    await notify(outbox, 1, 2, 3, 4)
    for number, answer in enumerate(answers, 1):
        await outbox.gateway.until(number)
        await outbox.nothing_happens()
        assert told(outbox.gateway) == {"m": list(range(1, number + 1))}
        answer.set()
    await outbox.until_delivered()
    assert outbox.waits() == {}
    assert len(await outbox.records(Kind.PUBLISHES, "")) == 4 + 4, "nothing was written twice"


@pytest.mark.parametrize("api", [ABLY, BEAMS])
async def test_others_do_not_wait(outbox: Delivering, time: Time, api: str) -> None:
    outbox.gateway.says("m", trio.Event(), trouble(retry_after_ms=900), rejected())
    await outbox.register("m", api=api)
    await notify(outbox, 1, 2, 3, device_id="m", apis=(api,))
    await outbox.gateway.until(3)


async def test_one_device_does_not_wait_for_another(outbox: Delivering, time: Time) -> None:
    outbox.gateway.says("m", trio.Event())
    for name in ("m", "n"):
        await outbox.register(name, api=MATRIX, client="me")
    await notify(outbox, 1, 2, 3, client_id="me")
    await soon(outbox, lambda: told(outbox.gateway)["n"] == [1, 2, 3])
    assert told(outbox.gateway)["m"] == [1]


@pytest.mark.parametrize(
    ("answer", "attempts"),
    [
        (trouble(retry_after_ms=5_000), [1, 1, 2, 3]),
        (misconfigured(), [1, 1, 2, 3]),
        (rejected(), [1, 2, 3]),
    ],
)
async def test_the_next_waits_until_it_is_over(
    outbox: Delivering, time: Time, answer: object, attempts: list[int]
) -> None:
    outbox.gateway.says("m", answer)  # type: ignore[arg-type]
    await outbox.register("m", api=MATRIX)
    await notify(outbox, 1, 2, 3)
    await outbox.passes_until_delivered()
    assert told(outbox.gateway) == {"m": attempts}


async def test_many_wait_without_an_attempt(outbox: Delivering, time: Time) -> None:
    """However long it takes; they are not looked at meanwhile, and then they go one by one."""
    outbox.gateway.says("m", trouble(), trouble(retry_after_ms=3_600_000))
    await outbox.register("m", api=MATRIX)
    await notify(outbox, *range(1, 50))
    await outbox.passes_until_tried(2)
    await outbox.until_waits(m=2)
    await soon(outbox, lambda: all(row.cursor is None for row in outbox.unfinished()))
    await time.passes(1_800_000, outbox)
    await outbox.nothing_happens()
    assert len(outbox.unfinished()) == 49
    assert len(outbox.due()) == 1
    before = len(await outbox.records(Kind.PUBLISHES, ""))
    await time.passes(900_000, outbox)
    await outbox.nothing_happens()
    assert len(await outbox.records(Kind.PUBLISHES, "")) == before
    await outbox.passes_until_delivered()
    assert told(outbox.gateway) == {"m": [1, 1, *range(1, 50)]}


async def test_a_page_that_is_not_over_is_waited_for(outbox: Delivering, time: Time) -> None:
    """A crash would repeat it: what was sent of it, too."""
    answer = trio.Event()
    outbox.gateway.says("slow", answer)
    await outbox.register("m", api=MATRIX, client="me")
    await outbox.register("slow", api=MATRIX, client="me")
    await notify(outbox, 1, client_id="me")
    await outbox.gateway.until(2)
    await notify(outbox, 2)
    await outbox.nothing_happens()
    assert told(outbox.gateway) == {"m": [1], "slow": [1]}
    answer.set()
    await outbox.until_delivered()
    assert told(outbox.gateway) == {"m": [1, 2], "slow": [1]}


async def test_who_comes_later_in_an_earlier_publish_is_waited_for(
    outbox: Delivering, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier one is at its first page, the device is on its last."""
    monkeypatch.setattr("broker.push.pages.PAGE_DEVICES", 1)
    names = [f"m{number}" for number in range(5)]
    await outbox.registered(*names, api=MATRIX)
    await notify(outbox, 0, channel=CHANNEL)
    await outbox.until_delivered()
    names = outbox.gateway.names()
    outbox.gateway.says(names[0], trio.Event())
    outbox.gateway.says(names[1], trio.Event())
    await notify(outbox, 1, channel=CHANNEL)
    await outbox.gateway.until(6)
    await notify(outbox, 2, device_id=names[-1])
    await outbox.nothing_happens()
    assert told(outbox.gateway)[names[-1]] == [0]
    await soon(outbox, lambda: outbox.waits().get(names[-1]) == 0)
    assert told(outbox.gateway)[names[-1]] == [0], "it is at the second page"
    await soon(outbox, lambda: told(outbox.gateway)[names[-1]] == [0, 1, 2])
    assert told(outbox.gateway)[names[0]] == [0, 1]


async def test_who_was_reached_by_an_earlier_one_does_not_wait_for_its_other_pages(
    outbox: Delivering, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.push.pages.PAGE_DEVICES", 1)
    await outbox.registered("a", "b", api=MATRIX)
    await notify(outbox, 0, channel=CHANNEL)
    await outbox.until_delivered()
    first, last = outbox.gateway.names()
    outbox.gateway.says(last, trio.Event())
    await notify(outbox, 1, channel=CHANNEL)
    await outbox.gateway.until(4)
    await notify(outbox, 2, device_id=first)
    await outbox.gateway.until(5)
    assert told(outbox.gateway) == {first: [0, 1, 2], last: [0, 1]}


async def test_whoever_is_next_is_told_at_once(outbox: Delivering, time: Time) -> None:
    """Its page is not over, and knows when an attempt that was made again has been answered."""
    outbox.gateway.says("m", trouble(retry_after_ms=1_000))
    await outbox.register("m", api=MATRIX)
    await notify(outbox, 1)
    await outbox.until_waits(m=1)
    await notify(outbox, 2)
    await outbox.nothing_happens()
    await outbox.passes_until_tried(2)
    await outbox.until_delivered()
    assert told(outbox.gateway) == {"m": [1, 1, 2]}
    assert len(await outbox.records(Kind.PUBLISHES, "")) == 2 + 3, "it was never written as waiting"


async def test_who_will_not_be_reached_by_an_earlier_one_does_not_wait(
    outbox: Delivering, time: Time
) -> None:
    """A topic that it is not subscribed to, another client, another API, a channel it is not on."""
    outbox.gateway.says("slow", *[trio.Event() for _ in range(4)])
    await outbox.registered("slow", api=MATRIX)
    await outbox.register("m", api=MATRIX, client="me")
    for name in ("slow", "m"):
        topic = f"of {name}"
        await outbox.broker.push.topics.change(outbox.app, name, MATRIX_CHANNELS, on=[topic])
    channels = dict.fromkeys(("of slow", "of m"), "disabled")
    await outbox.broker.matrix.set_channels(outbox.app, channels)
    await notify(outbox, 1, topics=("of slow",), space=MATRIX_CHANNELS)
    await notify(outbox, 2, channel=CHANNEL)
    await notify(outbox, 3, client_id="me", apis=(BEAMS,))
    await notify(outbox, 4, clients=("you",))
    await notify(outbox, 5, topics=("of m",), space=MATRIX_CHANNELS)
    await outbox.until(lambda: told(outbox.gateway)["m"] == [5])


async def test_who_leaves_an_earlier_publish_does_not_wait_for_ever(
    outbox: Delivering, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was to be reached by it on its last page, and is subscribed no more when that comes."""
    monkeypatch.setattr("broker.push.pages.PAGE_DEVICES", 1)
    await outbox.registered("a", "b", api=MATRIX)
    await notify(outbox, 0, channel=CHANNEL)
    await outbox.until_delivered()
    first, last = outbox.gateway.names()
    answer = trio.Event()
    outbox.gateway.says(first, answer)
    await notify(outbox, 1, channel=CHANNEL)
    await outbox.gateway.until(3)
    await notify(outbox, 2, device_id=last)
    await outbox.nothing_happens()
    await outbox.broker.push.unsubscribe(outbox.app, device=last)
    answer.set()
    await outbox.passes_until_delivered()
    assert told(outbox.gateway) == {first: [0, 1], last: [0, 2]}


async def test_a_device_whose_address_is_dead_takes_its_line_with_it(
    outbox: Delivering, time: Time
) -> None:
    outbox.gateway.says("m", trouble(retry_after_ms=1_000), dead())
    await outbox.register("m", api=MATRIX)
    await notify(outbox, *range(1, 20))
    await outbox.passes_until_delivered()
    assert told(outbox.gateway) == {"m": [1, 1]}
    assert outbox.broker.push.device(outbox.app, "m", api=None) is None
    with outbox.broker.rows() as rows:
        assert dict(rows.scan("outbox")) == {}


async def test_more_than_are_expanded_at_once(outbox: Delivering, time: Time) -> None:
    """They are begun in any order; and those that found no turn while others queued are looked at
    again."""
    count = 3 * PUBLISHES_AT_ONCE
    await outbox.register("m", api=MATRIX)
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(notify, outbox, number)
    await outbox.passes_until_delivered()
    accepted = [record.event for record in await outbox.records(Kind.PUBLISHES, "")]
    numbers = [event.payload["number"] for event in accepted if hasattr(event, "payload")]
    assert sorted(numbers) == list(range(count))
    assert told(outbox.gateway) == {"m": numbers}


def test_who_is_behind_a_long_list_is_looked_at_less_and_less_often() -> None:
    """About once a minute in the end, not once a second."""
    row = PublishRow("app", pack(START_MS), Selector(), {}, START_MS + TTL_MS_MAX)
    looks = [order.look_again_ms(row, START_MS)]
    while looks[-1] < START_MS + 3_600_000:
        looks.append(order.look_again_ms(row, looks[-1]))
    assert looks[0] == START_MS + order.LOOK_MS_MIN
    waits = [after - before for before, after in itertools.pairwise(looks)]
    assert waits == sorted(waits)
    assert waits[-1] == order.LOOK_MS_MAX
    assert len(looks) < 80


@pytest.mark.parametrize("when", ["at its first attempt", "waiting", "overdue"])
async def test_across_restarts(path: Path, time: Time, gateway: Gateway, when: str) -> None:
    if when == "waiting":
        gateway.says("m", trouble(retry_after_ms=5_000))
    else:
        gateway.says("m", trio.Event())
    async with delivering(path, time, gateway) as first:
        await first.register("m", api=MATRIX)
        await notify(first, 1, 2)
        await gateway.until(1)
        await first.nothing_happens()
        if when == "overdue":
            await time.passes(int(PAGE_PATIENCE_S * 1_000), first)
            await first.until_waits(m=0)
            assert len(first.unfinished()) == 2
        if when == "waiting":
            await first.until(lambda: first.waits() == {"m": 1})
    gateway.says("m", trouble(retry_after_ms=900))
    for number in (3, 4):
        async with delivering(path, time, gateway) as b:
            await notify(b, number)
            await b.nothing_happens()
    time.wall.advance(LEASE_MS)
    async with delivering(path, time, gateway) as last:
        await last.passes_until_delivered()
    assert told(gateway) == {"m": [1, 1, 1, 2, 3, 4]}


async def test_what_waits_is_not_told_before_what_has_not_begun_again(
    path: Path, time: Time, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart not all that was left is in memory at once."""
    monkeypatch.setattr("broker.push.pages.PAGE_DEVICES", 1)
    answer = gateway.always["slow"] = trio.Event()
    *others, last = sorted((f"m{number}" for number in range(5)), key=digest)
    async with delivering(path, time, gateway) as first:
        await first.register(last, api=MATRIX, client="me", endpoint="up")
        for name in others:
            await first.register(name, client="me", endpoint="slow")
            await first.register(f"x{name}", client="you", endpoint="slow")
        await notify(first, 0, client_id="you")
        await notify(first, 1, client_id="me")
        await notify(first, 2, device_id=last)
        await gateway.until(2)
        while last not in first.waits():
            await time.passes(int(PAGE_PATIENCE_S * 500), first)
    monkeypatch.setattr("broker.push.backlog.BEGUN_MAX", 1)
    time.wall.advance(LEASE_MS // 2)
    async with delivering(path, time, gateway) as second:
        await second.nothing_happens()
        assert last not in told(gateway)
        answer.set()
        await second.passes_until_delivered()
    assert told(gateway)[last] == [1, 2]
