"""What came of a notification is told once, when everybody was tried once; what a device reports of
one, too."""

from pathlib import Path
from typing import Any

import pytest
import trio

from broker import NotFound
from broker.event import Kind
from broker.push import expansion, outbox_log
from broker.push.events import BEAMS, Following, PublishAccepted, PushReported, Selector, Tally
from broker.push.pages import PAGE_PATIENCE_S
from broker.push.tallies import First, merged, tally
from broker.retention import PUBLISHES_RETENTION_MS
from tests.broker.acting import Time
from tests.broker.push_outbox.delivering import Delivering, delivering
from tests.broker.push_outbox.gateway import (
    PAYLOAD,
    TRANSPORT,
    Gateway,
    address,
    dead,
    rejected,
    trouble,
)

pytestmark = pytest.mark.timeout(60)
TOLD = Following(address("told"), {"event": "over"})
USERS = ("u0", "u1", "u2", "nobody")


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.push.pages.PAGE_DEVICES", 3)


async def people(b: Delivering) -> None:
    """Three devices of u0, two of u1, two of u2."""
    for number, user in enumerate("0001122"):
        await b.register(f"d{number}", client=f"u{user}", api=BEAMS)


async def publish(b: Delivering, *following: Following, **to: Any) -> None:
    selector = Selector(**(to or {"clients": USERS, "apis": (BEAMS,)}))
    await b.broker.push.publish(b.app, selector, PAYLOAD, following=following or (TOLD,))


def told(gateway: Gateway) -> list[dict[str, Any]]:
    return [one.payload for one in gateway.got if one.recipient["address"] == "told"]


def in_order(b: Delivering) -> list[str]:
    """The people as a notification comes to them."""
    with b.broker.rows() as rows:
        selector = Selector(clients=USERS, apis=(BEAMS,))
        devices, _ = expansion.page(rows, b.app, selector, b"", 100)
    return [device.id for device in devices]


async def accepted(b: Delivering) -> list[PublishAccepted]:
    events = [record.event for record in await b.records(Kind.PUBLISHES, "")]
    return [event for event in events if isinstance(event, PublishAccepted)]


async def test_when_everybody_was_tried_once(outbox: Delivering, time: Time) -> None:
    """Missed is who has no device that was reached; who is tried again is not waited for."""
    gateway = outbox.gateway
    gateway.says("d0", rejected())
    gateway.says("d1", trouble(retry_after_ms=60_000))
    for name in ("d5", "d6"):
        gateway.says(name, dead())
    await people(outbox)
    await publish(outbox)
    await outbox.until(lambda: bool(told(gateway)))
    (payload,) = told(gateway)
    assert payload.pop("at") == pytest.approx(time.wall(), abs=1_000)
    assert payload == {
        "event": "over",
        "clients": list(USERS),
        "tally": {
            "sent": {TRANSPORT: 3},
            "failed": {TRANSPORT: 4},
            "reached": ["u0", "u1"],
            "missed": ["u2"],
        },
    }
    assert outbox.waits() == {"d1": 1}
    await outbox.passes_until_delivered()
    assert len(told(gateway)) == 1
    assert len(await accepted(outbox)) == 2


async def test_not_before_the_last_page(outbox: Delivering, time: Time) -> None:
    answer = trio.Event()
    await people(outbox)
    outbox.gateway.says(in_order(outbox)[-1], answer)
    await publish(outbox)
    await outbox.gateway.until(7)
    await outbox.nothing_happens()
    assert told(outbox.gateway) == []
    answer.set()
    await outbox.until_delivered()
    assert len(told(outbox.gateway)) == 1


async def test_who_has_not_answered_was_not_reached(outbox: Delivering, time: Time) -> None:
    answer = trio.Event()
    await people(outbox)
    outbox.gateway.says(in_order(outbox)[-1], answer)
    await publish(outbox)
    await outbox.gateway.until(7)
    await time.passes(int(PAGE_PATIENCE_S * 1_000), outbox)
    await outbox.until(lambda: bool(told(outbox.gateway)))
    counts = told(outbox.gateway)[0]["tally"]
    assert (counts["sent"], counts["failed"]) == ({TRANSPORT: 6}, {TRANSPORT: 1})
    answer.set()
    await outbox.until_delivered()
    assert len(told(outbox.gateway)) == 1


async def test_of_one_that_was_for_nobody(outbox: Delivering, time: Time) -> None:
    await publish(outbox, clients=("nobody",))
    await outbox.until_delivered()
    (payload,) = told(outbox.gateway)
    assert payload["tally"] == {}


async def test_pages_that_found_nobody_are_passed(
    outbox: Delivering, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They looked at as many as a page may, and none was meant."""
    monkeypatch.setattr(expansion, "LOOKED_AT_MAX", 2)
    await people(outbox)
    for number in range(20):
        await outbox.register(f"x{number}", client="u1")
    await publish(outbox)
    await outbox.until_delivered()
    assert told(outbox.gateway)[0]["tally"]["sent"] == {TRANSPORT: 7}
    assert len(await outbox.records(Kind.PUBLISHES, "")) > 2 + 27 // 2


async def test_several_are_told_and_they_are_told_again_until_they_hear(
    outbox: Delivering, time: Time
) -> None:
    outbox.gateway.says("told", trouble())
    other = Following(address("other"), {"event": "over"})
    await people(outbox)
    await publish(outbox, TOLD, other)
    await outbox.passes_until_delivered()
    assert sorted(outbox.gateway.names())[-3:] == ["other", "told", "told"]
    first, second = told(outbox.gateway)
    assert first == second


@pytest.mark.parametrize("stops_at", range(3))
async def test_a_page_that_is_repeated_counts_once(
    path: Path, time: Time, gateway: Gateway, stops_at: int
) -> None:
    never = trio.Event()
    async with delivering(path, time, gateway) as first:
        await people(first)
        gateway.always[f"d{2 * stops_at}"] = never
        await publish(first)
        await first.nothing_happens()
        assert told(gateway) == []
    gateway.always.clear()
    async with delivering(path, time, gateway) as second:
        await second.until_delivered()
        assert len(await accepted(second)) == 2
    (payload,) = told(gateway)
    assert payload["tally"]["sent"] == {TRANSPORT: 7}
    assert "failed" not in payload["tally"]
    async with delivering(path, time, gateway) as third:
        await third.nothing_happens()
    assert len(told(gateway)) == 1


async def test_a_report_counts_once(outbox: Delivering, time: Time) -> None:
    """Whatever is told again, of whatever it is the first time."""
    push, app = outbox.broker.push, outbox.app
    await outbox.register("d", api=BEAMS)
    for _ in range(2):
        for what in ("delivery", "open"):
            for of in ("p", "q"):
                await push.report(app, of, "d", what, 5, [TOLD])
    await outbox.until_delivered()
    assert len(told(outbox.gateway)) == 4
    events = [record.event for record in await outbox.records(Kind.PUBLISHES, "")]
    reports = [event for event in events if isinstance(event, PushReported)]
    assert [(one.publish, one.what) for one in reports] == [
        ("p", "delivery"),
        ("q", "delivery"),
        ("p", "open"),
        ("q", "open"),
    ]
    with pytest.raises(NotFound):
        await push.report("none", "p", "d", "open", 5)


async def test_reports_are_forgotten_with_what_they_are_of(outbox: Delivering, time: Time) -> None:
    await outbox.register("d", api=BEAMS)
    await outbox.broker.push.report(outbox.app, "p", "d", "open", 5)
    time.wall.advance(PUBLISHES_RETENTION_MS + 1)
    await outbox.broker.push.report(outbox.app, "q", "d", "open", 5)
    await outbox.broker.sweep()
    with outbox.broker.rows() as rows:
        before = dict(rows.scan(outbox_log.TABLE))
    assert len(before) == 1
    await outbox.broker.rebuild()
    with outbox.broker.rows() as rows:
        assert dict(rows.scan(outbox_log.TABLE)) == before


def test_adding_up() -> None:
    one = tally([First("web", True, "a"), First("web", False, "a"), First("fcm", False, "b")])
    assert one == Tally({"web": 1}, {"web": 1, "fcm": 1}, ("a",), ("b",))
    more = tally([First("fcm", True, "b"), First("web", False, "c"), First("", False, None)])
    both = Tally({"web": 1, "fcm": 1}, {"web": 2, "fcm": 1, "": 1}, ("a", "b"), ("c",))
    assert merged(one, more) == both
    assert merged(one, None) == one
    assert tally([]) == merged(Tally(), Tally()) == Tally()
