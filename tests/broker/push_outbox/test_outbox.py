"""Who gets a notification, when it is accepted, and how devices stand after it."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from broker.event import Kind
from broker.push.attempts import ACTIVE, FAILED, FAILING, MISCONFIGURED_MS
from broker.push.events import Subscription
from broker.push.transport import Verdict
from tests.broker.acting import Time, writer_held
from tests.broker.push_outbox.delivering import CHANNEL, Delivering
from tests.broker.push_outbox.gateway import (
    PAYLOAD,
    Late,
    address,
    dead,
    misconfigured,
    rejected,
    trouble,
)

pytestmark = pytest.mark.timeout(60)


async def test_it_is_on_disk_before_it_is_accepted_and_before_it_is_sent(
    outbox: Delivering,
    time: Time,
) -> None:
    accepted = trio.Event()

    async def publish() -> None:
        await outbox.notify(recipient=address("a"))
        accepted.set()

    async with trio.open_nursery() as nursery:
        async with writer_held(outbox.broker.log):
            nursery.start_soon(publish)
            await wait_all_tasks_blocked()
            assert not accepted.is_set()
            assert outbox.unfinished() == []
            assert outbox.gateway.got == []
        await accepted.wait()
    await outbox.gateway.until(1)
    assert len(await outbox.records(Kind.PUBLISHES, "")) >= 1


async def test_accepting_does_not_wait_for_the_delivery(outbox: Delivering, time: Time) -> None:
    answer = trio.Event()
    outbox.gateway.says("a", answer)
    await outbox.notify(recipient=address("a"))
    assert [row.waiting for row in outbox.unfinished()] == [0]
    await outbox.gateway.until(1)
    answer.set()
    await outbox.until_delivered()


async def test_to_an_address_of_its_own(outbox: Delivering, time: Time) -> None:
    await outbox.notify(recipient=address("a"))
    await outbox.until_delivered()
    (outgoing,) = outbox.gateway.got
    assert (outgoing.recipient, outgoing.payload) == (address("a"), PAYLOAD)


async def test_to_a_device(outbox: Delivering, time: Time) -> None:
    await outbox.register("a")
    await outbox.register("b")
    await outbox.notify(device_id="a")
    await outbox.notify(device_id="nobody")
    await outbox.until_delivered()
    assert outbox.gateway.names() == ["a"]


async def test_to_a_clients_devices(outbox: Delivering, time: Time) -> None:
    await outbox.register("a", client="me")
    await outbox.register("b", client="me")
    await outbox.register("c", client="you")
    await outbox.notify(client_id="me")
    await outbox.until_delivered()
    assert sorted(outbox.gateway.names()) == ["a", "b"]


async def test_to_a_channel(outbox: Delivering, time: Time) -> None:
    """A device that is reached in two ways gets it once."""
    await outbox.registered("a", "b")
    for name in ("b", "c", "d"):
        await outbox.register(name, client="me")
    await outbox.broker.push.subscribe(outbox.app, Subscription(CHANNEL, client_id="me"))
    await outbox.broker.push.subscribe(outbox.app, Subscription("push:other", device_id="a"))
    await outbox.notify(channel=CHANNEL)
    await outbox.until_delivered()
    assert sorted(outbox.gateway.names()) == ["a", "b", "c", "d"]
    assert len({outgoing.id for outgoing in outbox.gateway.got}) == 4


async def test_a_message_that_asks_for_it(outbox: Delivering, time: Time) -> None:
    await outbox.registered("a")
    await outbox.broker.channel(CHANNEL).publish("name", "data", extras={"push": PAYLOAD})
    await outbox.gateway.until(1)
    await outbox.until_delivered()
    assert outbox.gateway.got[0].payload == PAYLOAD
    await outbox.broker.channel("other").publish("name", extras={"push": PAYLOAD})
    await outbox.nothing_happens()
    assert len(outbox.gateway.got) == 1


async def test_a_repeated_message_asks_once(outbox: Delivering, time: Time) -> None:
    await outbox.registered("a")
    for _ in range(3):
        await outbox.broker.channel(CHANNEL).publish(id="x", extras={"push": PAYLOAD})
    await outbox.until_delivered()
    await outbox.nothing_happens()
    assert outbox.gateway.names() == ["a"]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9, 10])
async def test_page_by_page_everybody_once(
    outbox: Delivering, time: Time, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("broker.push.pages.PAGE_DEVICES", 3)
    names = [f"d{number}" for number in range(count)]
    await outbox.registered(*names[::2])
    for name in names[1::2]:
        await outbox.register(name, client="me")
    await outbox.broker.push.subscribe(outbox.app, Subscription(CHANNEL, client_id="me"))
    await outbox.notify(channel=CHANNEL)
    await outbox.until_delivered()
    assert sorted(outbox.gateway.names()) == sorted(names)
    assert len(await outbox.records(Kind.PUBLISHES, "")) == 1 + -(-count // 3)


async def test_the_same_again_is_another_notification(outbox: Delivering, time: Time) -> None:
    await outbox.register("a")
    await outbox.notify(device_id="a")
    await outbox.notify(device_id="a")
    await outbox.until_delivered()
    first, second = outbox.gateway.got
    assert first.id != second.id


async def test_a_device_that_fails_again_and_again_is_failing(
    outbox: Delivering, time: Time
) -> None:
    await outbox.register("a")
    outbox.gateway.says("a", *[trouble()] * 3)
    await outbox.notify(device_id="a")
    seen = []
    for made in range(1, 4):
        await outbox.until_waits(a=made)
        seen.append(outbox.standing("a"))
        await outbox.passes_until_tried(made + 1)
    assert seen == [(ACTIVE, 1), (ACTIVE, 2), (FAILING, 3)]
    await outbox.until_delivered()
    assert outbox.standing("a") == (ACTIVE, 0)
    assert outbox.device("a").error is None


async def test_a_device_whose_address_is_dead_has_failed(outbox: Delivering, time: Time) -> None:
    """It is asked no more, until it has another address."""
    await outbox.register("a")
    outbox.gateway.says("a", dead())
    for _ in range(2):
        await outbox.notify(device_id="a")
        await outbox.until_delivered()
    assert outbox.standing("a") == (FAILED, 1)
    assert outbox.device("a").error == {
        "code": 103005,
        "message": "unregistered",
        "statusCode": 400,
    }
    assert len(outbox.gateway.got) == 1
    await outbox.broker.push.patch(outbox.app, "a", recipient=address("b"))
    assert outbox.standing("a") == (ACTIVE, 0)
    await outbox.notify(device_id="a")
    await outbox.until_delivered()
    assert outbox.gateway.names() == ["a", "b"]


async def test_what_is_told_of_an_old_address_is_nobodys_fault(
    outbox: Delivering, time: Time
) -> None:
    await outbox.register("a")
    late = trio.Event()
    outbox.gateway.says("a", Late(late, dead()))
    await outbox.notify(device_id="a")
    await outbox.gateway.until(1)
    await outbox.broker.push.patch(outbox.app, "a", recipient=address("b"))
    late.set()
    await outbox.until_delivered()
    assert outbox.standing("a") == (ACTIVE, 0)


@pytest.mark.parametrize("late", ["works", "does not"])
async def test_failed_is_not_taken_back_by_who_comes_late(
    outbox: Delivering, time: Time, late: str
) -> None:
    """An attempt that began before the address was known to be dead ends after it."""
    await outbox.register("a")
    outbox.gateway.says("a", trouble(retry_after_ms=1))
    await outbox.notify(device_id="a")
    await outbox.until_waits(a=1)
    answer = trio.Event()
    outbox.gateway.says("a", answer, dead())
    await outbox.passes_until_tried(2)
    await outbox.notify(device_id="a")
    await outbox.until(lambda: outbox.standing("a")[0] == FAILED)
    if late == "works":
        answer.set()
    else:
        await outbox.time.passes(30_000, outbox)
    await outbox.passes_until_delivered()
    assert outbox.standing("a")[0] == FAILED
    assert len(outbox.gateway.got) == 3


async def test_a_notification_that_is_refused_says_nothing_of_the_device(
    outbox: Delivering,
    time: Time,
) -> None:
    await outbox.register("a")
    outbox.gateway.says("a", rejected())
    await outbox.notify(device_id="a")
    await outbox.until_delivered()
    assert outbox.standing("a") == (ACTIVE, 0)
    assert outbox.broker.outbox.counts[Verdict.REJECTED] == 1


async def test_what_the_operator_has_to_mend_is_held(outbox: Delivering, time: Time) -> None:
    await outbox.register("a")
    outbox.gateway.says("a", misconfigured())
    await outbox.notify(device_id="a")
    await outbox.until_waits(a=1)
    assert outbox.standing("a") == (ACTIVE, 0)
    assert outbox.due()[0].at_ms == outbox.time.wall() + MISCONFIGURED_MS
    await outbox.passes_until_delivered()
    assert outbox.gateway.names() == ["a", "a"]


async def test_a_removed_device_is_not_waited_for(outbox: Delivering, time: Time) -> None:
    await outbox.register("a")
    outbox.gateway.says("a", trouble())
    await outbox.notify(device_id="a")
    await outbox.until_waits(a=1)
    await outbox.broker.push.remove(outbox.app, device="a")
    await outbox.passes_until_delivered()
    assert len(outbox.gateway.got) == 1


async def test_a_transport_with_a_bug_ends_nothing(
    outbox: Delivering, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.gateway.says("a", KeyError("bug"))
    await outbox.notify(recipient=address("a"))
    await outbox.until(lambda: len(outbox.due()) == 1)
    assert "a transport failed" in caplog.text
    caplog.clear()
    await outbox.notify(recipient={"transportType": "scripted", "address": "no endpoint"})
    await outbox.until(lambda: len(outbox.due()) == 2)
    await outbox.notify(recipient=address("c"))
    await outbox.gateway.until(2)
    assert outbox.gateway.names() == ["a", "c"]


async def test_what_did_not_arrive_is_told(outbox: Delivering, time: Time) -> None:
    await outbox.register("a")
    outbox.gateway.says("a", dead())
    await outbox.notify(device_id="a")
    await outbox.until_delivered()
    await outbox.settled()
    (message,) = await outbox.events(Kind.EPHEMERAL, "[meta]log:push")
    assert '"code":103005' in message.message.data
    assert '"deviceId":"a"' in message.message.data
