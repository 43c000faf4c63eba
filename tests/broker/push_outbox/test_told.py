"""Nobody is told twice of what they can be found for in several ways, and nobody is passed over."""

from typing import Any

import msgspec
import pytest
import trio

from broker.push import told
from broker.push.events import Device, Selector, Subscription
from broker.push.outbox_log import PublishRow
from broker.push.told import Told
from tests.broker.acting import Time
from tests.broker.push_outbox.delivering import CHANNEL, Delivering

pytestmark = pytest.mark.timeout(60)
ROW = PublishRow("app", 7, Selector(channel="c"), {}, 1_000)


def devices(*names: str, client: str | None = "me") -> list[Device]:
    return [
        Device(
            id=n,
            platform="ios",
            form_factor="phone",
            transport="t",
            recipient=b"",
            client_id=client,
        )
        for n in names
    ]


async def test_a_device_that_subscribes_itself_after_it_was_told_through_its_client(
    outbox: Delivering, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.push.pages.PAGE_DEVICES", 1)
    names = ["m1", "m2", "m3"]
    await outbox.registered("other")
    for name in names:
        await outbox.register(name, client="me")
    await outbox.broker.push.subscribe(outbox.app, Subscription(CHANNEL, client_id="me"))
    answer = trio.Event()
    outbox.gateway.always["e"] = answer
    await outbox.notify(channel=CHANNEL)
    await outbox.gateway.until(1)
    for name in names:
        await outbox.broker.push.subscribe(outbox.app, Subscription(CHANNEL, device_id=name))
    answer.set()
    await outbox.until_delivered()
    assert sorted(outbox.gateway.names()) == [*names, "other"]


@pytest.mark.parametrize(
    ("selector", "client", "has_several_ways"),
    [
        (Selector(channel="c"), "me", True),
        (Selector(channel="c"), None, False),
        (Selector(client_id="me"), "me", False),
        (Selector(topics=("a",)), None, False),
        (Selector(topics=("a", "b")), None, True),
        (Selector(clients=("me", "you")), "me", True),
    ],
)
def test_only_who_has_several_ways_is_kept(
    selector: Selector, client: str | None, has_several_ways: bool
) -> None:
    known, row = Told(), msgspec.structs.replace(ROW, selector=selector)
    found = devices("a", "b", client=client)
    assert known.others(row, found) == found
    assert known.others(row, found) == ([] if has_several_ways else found)
    assert len(known) == (2 if has_several_ways else 0)


def test_another_notification_is_told_again() -> None:
    known, found = Told(), devices("a")
    others: list[dict[str, Any]] = [{}, {"serial": 8}, {"app": "other"}]
    for other in others:
        assert known.others(msgspec.structs.replace(ROW, **other), found) == found


def test_what_is_kept_is_bounded_and_the_newest_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "TOLD_MAX", 3)
    known = Told()
    for name in "abcde":
        assert known.others(ROW, devices(name))
    assert len(known) == 3
    assert known.others(ROW, devices("c", "d", "e")) == []
    assert known.others(ROW, devices("a"))
