"""Who a notification is for: everybody once, page by page, whatever changes between pages."""

import os
import random
from collections.abc import Iterator

import pytest

from broker import Broker
from broker.push import expansion
from broker.push.events import Selector
from storage import Rows
from tests.broker.push.registered import CHANNEL, enabled, of_client, of_device, registered

SEED = int(os.environ.get("TIDELOG_SEED", random.randrange(1 << 32)))
SEEDS = int(os.environ.get("TIDELOG_SEEDS", "5"))
STUCK = 1_000
LIMITS = (1, 2, 3, 5, 100)
EVERYBODY = Selector(channel=CHANNEL)


class Walk:
    """The pages of one publish, asked for one by one."""

    def __init__(self, b: Broker, app: str, selector: Selector, limit: int) -> None:
        self.broker, self.app, self.selector, self.limit = b, app, selector, limit
        self.found: list[str] = []
        self.cursor: bytes | None = b""

    def step(self) -> bool:
        """Whether there is more."""
        assert self.cursor is not None
        with self.broker.rows() as rows:
            page = expansion.page(rows, self.app, self.selector, self.cursor, self.limit)
        assert len(page.devices) <= self.limit
        assert page.cursor is None or len(page.devices) == self.limit
        assert len(self.found) < STUCK, "the pages come to an end"
        self.found += [device.id for device in page.devices]
        self.cursor = page.cursor
        return page.cursor is not None

    def all(self) -> list[str]:
        while self.step():
            pass
        assert len(self.found) == len(set(self.found)), "nobody is told twice"
        return sorted(self.found)


@pytest.fixture
async def app(opened: Broker) -> str:
    """Three devices of me, two of you, two of nobody; a device of another app."""
    app = await enabled(opened)
    await registered(opened, app, "m1", "m2", "m3", client_id="me")
    await registered(opened, app, "y1", "y2", client_id="you")
    await registered(opened, app, "n1", "n2")
    other = await enabled(opened, (await opened.apps.create()).id)
    await registered(opened, other, "stranger", "m1", client_id="me")
    await opened.push.subscribe(other, of_client("me"))
    return app


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (Selector(device_id="n1"), ["n1"]),
        (Selector(device_id="gone"), []),
        (Selector(device_id="stranger"), []),
        (Selector(client_id="me"), ["m1", "m2", "m3"]),
        (Selector(client_id="nobody"), []),
        (Selector(client_id="n1"), []),
        (EVERYBODY, []),
        (Selector(), []),
    ],
)
async def test_devices_and_clients(
    opened: Broker, app: str, selector: Selector, expected: list[str], limit: int
) -> None:
    assert Walk(opened, app, selector, limit).all() == expected


@pytest.mark.parametrize("limit", LIMITS)
async def test_a_channels_devices_and_those_of_its_clients(
    opened: Broker, app: str, limit: int
) -> None:
    for subscription in (of_device("n1"), of_device("m2"), of_client("me"), of_client("nobody")):
        await opened.push.subscribe(app, subscription)
    await opened.push.subscribe(app, of_client("you", "push:other"))
    assert Walk(opened, app, EVERYBODY, limit).all() == ["m1", "m2", "m3", "n1"]
    await opened.push.subscribe(app, of_client("you"))
    await opened.push.unsubscribe(app, client="me")
    assert Walk(opened, app, EVERYBODY, limit).all() == ["m2", "n1", "y1", "y2"]
    await opened.push.remove(app, device="m2")
    assert Walk(opened, app, EVERYBODY, limit).all() == ["n1", "y1", "y2"]


async def test_a_full_last_page_is_the_last(opened: Broker, app: str) -> None:
    """No page of nobody is asked for."""
    walk = Walk(opened, app, Selector(client_id="me"), 3)
    assert not walk.step()
    for limit in (1, 5):
        walk = Walk(opened, app, Selector(device_id="n1"), limit)
        assert not walk.step()


async def test_a_client_that_goes_in_the_middle_of_its_devices(opened: Broker, app: str) -> None:
    """The pages go on behind it, with whoever else there is."""
    for subscription in (of_client("me"), of_client("you"), of_device("n1"), of_device("n2")):
        await opened.push.subscribe(app, subscription)
    for steps in range(1, 7):
        walk = Walk(opened, app, EVERYBODY, 1)
        for _ in range(steps):
            walk.step()
        before = list(walk.found)
        await opened.push.unsubscribe(app, client="me")
        found = walk.all()
        assert {"y1", "y2", "n1", "n2"} <= set(found)
        assert {id_ for id_ in found if id_.startswith("m")} <= set(before)
        await opened.push.subscribe(app, of_client("me"))


async def test_a_device_that_subscribes_itself_meanwhile(opened: Broker, app: str) -> None:
    """It was to be told all the time, so it is not passed over. Told again, if it was told through
    its client, it may be: providers know by the delivery's id."""
    await opened.push.subscribe(app, of_client("me"))
    for id_ in ("m1", "m2", "m3"):
        walk = Walk(opened, app, EVERYBODY, 1)
        walk.step()
        await opened.push.subscribe(app, of_device(id_))
        while walk.cursor is not None:
            walk.step()
        assert set(walk.found) == {"m1", "m2", "m3"}
        assert all(walk.found.count(other) == 1 for other in set(walk.found) - {id_})
        await opened.push.unsubscribe(app, device=id_)


class Counted:
    """Rows that count how many of them were looked at."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.looked_at = 0

    def get(self, table: str, key: bytes) -> bytes | None:
        self.looked_at += 1
        return self._rows.get(table, key)

    def scan(
        self, table: str, prefix: bytes = b"", after: bytes = b""
    ) -> Iterator[tuple[bytes, bytes]]:
        for found in self._rows.scan(table, prefix, after):
            self.looked_at += 1
            yield found


async def test_a_page_costs_what_it_holds(opened: Broker, app: str) -> None:
    """However many devices there are: before it, or behind it."""
    names = [f"d{number:03}" for number in range(120)]
    await registered(opened, app, *names, client_id="many")
    await opened.push.subscribe(app, of_client("many"))
    for selector in (EVERYBODY, Selector(client_id="many")):
        cursor: bytes | None = b""
        while cursor is not None:
            with opened.rows() as rows:
                counted = Counted(rows)
                cursor = expansion.page(counted, app, selector, cursor, 10).cursor  # type: ignore[arg-type]
            assert counted.looked_at <= 40


@pytest.mark.parametrize("nth", range(SEEDS))
async def test_whoever_stays_is_told_once(opened: Broker, app: str, nth: int) -> None:
    """Devices and subscriptions come and go between the pages; nobody who was there all the time,
    and was subscribed in the same way, is passed over or told again."""
    seed = SEED + nth
    print(f"TIDELOG_SEED={seed} TIDELOG_SEEDS=1 pytest tests/broker/push/test_expansion.py")
    choices = random.Random(seed)
    staying = {"n1", "n2", "y1", "y2"}
    for subscription in (of_device("n1"), of_device("n2"), of_client("you"), of_client("me")):
        await opened.push.subscribe(app, subscription)
    for _ in range(6):
        walk = Walk(opened, app, EVERYBODY, choices.randint(1, 3))
        while walk.step():
            await _change(opened, app, choices)
        assert staying <= set(walk.found)
        assert all(walk.found.count(id_) == 1 for id_ in staying)
        everybody = Walk(opened, app, EVERYBODY, 100).all()
        assert Walk(opened, app, EVERYBODY, 1).all() == everybody


async def _change(b: Broker, app: str, choices: random.Random) -> None:
    id_ = choices.choice([f"x{number}" for number in range(6)])
    match choices.randrange(5):
        case 0 | 1:
            client = choices.choice(["me", "you", None])
            await registered(b, app, id_, client_id=client)
        case 2:
            await registered(b, app, id_)
            await b.push.subscribe(app, of_device(id_))
        case 3:
            await b.push.remove(app, device=id_)
        case 4:
            if choices.random() < 0.5:
                await b.push.unsubscribe(app, client="me")
            else:
                await b.push.subscribe(app, of_client("me"))
