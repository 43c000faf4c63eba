"""Notifications for several topics or users: who they are for, by set operations and by pages."""

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from broker import Broker
from broker.push import expansion
from broker.push.events import (
    ABLY,
    BEAMS,
    INTERESTS,
    MATRIX,
    MATRIX_CHANNELS,
    Device,
    Selector,
    Subscription,
)
from tests.broker.push.registered import CHANNEL, enabled, of_client, registered
from tests.broker.push.test_expansion import LIMITS, Walk

SEED = int(os.environ.get("TIDELOG_SEED", random.randrange(1 << 32)))
SEEDS = [SEED + n for n in range(int(os.environ.get("TIDELOG_SEEDS", "3")))]
DEVICES = [f"d{number:02}" for number in range(24)]
USERS = ["u0", "u1", "u2", "u3"]
TOPICS = ["t0", "t1", "t2", "t3"]
TRANSPORTS = ["apns", "fcm", "web"]
SPACES = {BEAMS: INTERESTS, MATRIX: MATRIX_CHANNELS}


class People:
    """Devices of all APIs with topics of their spaces, some of them off, as plain sets too."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.devices: dict[str, Device] = {}
        self.on: dict[str, set[str]] = {}
        self.channel: set[str] = set()

    async def settle(self, b: Broker, app: str) -> None:
        for id_ in DEVICES:
            api, transport = (
                self.chance.choice([ABLY, BEAMS, MATRIX]),
                self.chance.choice(TRANSPORTS),
            )
            recipient = {"transportType": transport, "address": id_}
            client = self.chance.choice([None, *USERS])
            (self.devices[id_],) = await registered(
                b, app, id_, api=api, recipient=recipient, client_id=client
            )
            topics = set(self.chance.sample(TOPICS, self.chance.randint(0, len(TOPICS))))
            self.on[id_] = topics if api in SPACES else set()
            if api in SPACES:
                off = set(TOPICS) - topics
                await b.push.topics.change(app, id_, SPACES[api], on=topics, off=off)
            if self.chance.random() < 0.4:
                self.channel.add(id_)
                await b.push.subscribe(app, Subscription(CHANNEL, device_id=id_))
        for user in USERS[:2]:
            await b.push.subscribe(app, of_client(user))

    def a_selector(self) -> Selector:
        of: dict[str, Any] = {}
        names = tuple(self.chance.choices(TOPICS, k=self.chance.randint(1, 4)))
        users = tuple(self.chance.choices([*USERS, "nobody"], k=self.chance.randint(1, 4)))
        space = self.chance.choice(list(SPACES.values()))
        match self.chance.choice("tubcso"):
            case "t":
                of = {"topics": names, "space": space}
            case "u":
                of = {"clients": users}
            case "b":
                of = {"topics": names, "space": space, "clients": users}
            case "c":
                of = {"channel": CHANNEL}
            case "s":
                of = {"client_id": users[0]}
            case "o":
                of = {"device_id": self.chance.choice(DEVICES)}
        apis = tuple(self.chance.sample([ABLY, BEAMS, MATRIX], self.chance.randint(0, 3)))
        transports = tuple(self.chance.sample(TRANSPORTS, self.chance.choice([0, 0, 1, 2])))
        return Selector(**of, apis=apis, transports=transports)

    def wanted(self, selector: Selector) -> list[str]:
        return [id_ for id_, device in self.devices.items() if self._is_wanted(selector, device)]

    def _is_wanted(self, selector: Selector, device: Device) -> bool:
        if device.api not in (selector.apis or {ABLY, MATRIX}):
            return False
        if selector.transports and device.transport not in selector.transports:
            return False
        if selector.clients and device.client_id not in selector.clients:
            return False
        if selector.topics:
            is_of_space = SPACES.get(device.api) == selector.space
            return is_of_space and bool(self.on[device.id] & set(selector.topics))
        if selector.channel:
            return device.id in self.channel or device.client_id in USERS[:2]
        return (
            bool(selector.clients)
            or selector.device_id == device.id
            or (device.client_id is not None and selector.client_id == device.client_id)
        )


def check_places(b: Broker, app: str, selector: Selector, devices: list[Device]) -> None:
    """Whoever is found behind a cursor has a place behind it, and nobody else has."""
    walk = Walk(b, app, selector, 1)
    cursors = [b""]
    while walk.step():
        assert walk.cursor is not None
        cursors.append(walk.cursor)
    with b.rows() as rows:
        of = {d.id: expansion.place_of(rows, app, selector, d) for d in devices}
    for number, cursor in enumerate(cursors):
        behind = {id_ for id_, place in of.items() if place is not None and place > cursor}
        assert behind == set(walk.found[number:])


@pytest.fixture
async def app(opened: Broker) -> str:
    return await enabled(opened)


def seeded(seed: int) -> random.Random:
    print(f"TIDELOG_SEED={seed} TIDELOG_SEEDS=1 pytest tests/broker/push/test_expansion_topics.py")
    return random.Random(seed)


@pytest.mark.parametrize("seed", SEEDS)
async def test_everybody_who_is_meant_once(opened: Broker, app: str, seed: int) -> None:
    """Whatever the length of a page; and `place_of` says at which cursor."""
    people = People(seeded(seed))
    await people.settle(opened, app)
    tried = 0
    for _ in range(120):
        selector = people.a_selector()
        wanted = people.wanted(selector)
        for limit in LIMITS:
            assert Walk(opened, app, selector, limit).all() == wanted
        tried += len(wanted)
        check_places(opened, app, selector, list(people.devices.values()))
    assert tried > 100


@pytest.mark.parametrize("seed", SEEDS)
async def test_whoever_stays_is_told_once(opened: Broker, app: str, seed: int) -> None:
    """Devices come and go, and topics go on and off, between pages."""
    chance = seeded(seed)
    staying = [f"s{number}" for number in range(6)]
    await registered(opened, app, *staying, api=BEAMS, client_id="u1")
    for number, id_ in enumerate(staying):
        await opened.push.topics.change(app, id_, INTERESTS, on=TOPICS[number % 3 : number % 3 + 2])
    for selector in (
        Selector(topics=tuple(TOPICS), space=INTERESTS, apis=(BEAMS,)),
        Selector(topics=tuple(TOPICS), space=INTERESTS, clients=("u0", "u1"), apis=(BEAMS,)),
        Selector(clients=("u0", "u1", "u2"), apis=(BEAMS,)),
    ) * 2:
        walk = Walk(opened, app, selector, chance.randint(1, 3))
        while walk.step():
            await _change(opened, app, chance)
        assert [walk.found.count(id_) for id_ in staying] == [1] * len(staying)


async def _change(b: Broker, app: str, chance: random.Random) -> None:
    id_ = f"x{chance.randrange(6)}"
    if chance.random() < 0.3:
        await b.push.remove(app, device=id_, api=BEAMS)
        return
    await registered(b, app, id_, api=BEAMS, client_id=chance.choice(USERS))
    await b.push.topics.replace(app, id_, INTERESTS, chance.sample(TOPICS, 2), 9)


async def test_a_name_that_is_given_twice_is_one(opened: Broker, app: str) -> None:
    await registered(opened, app, "d", api=MATRIX, client_id="me")
    await opened.push.topics.change(app, "d", MATRIX_CHANNELS, on=["a"])
    for selector in (
        Selector(topics=("a", "a"), space=MATRIX_CHANNELS),
        Selector(clients=("me", "me")),
        Selector(topics=("b", "a", "a"), clients=("me", "me"), space=MATRIX_CHANNELS),
    ):
        assert Walk(opened, app, selector, 1).all() == ["d"]


async def test_as_many_names_as_may_be_named(opened: Broker, app: str) -> None:
    """More than one byte has room for."""
    names = [f"u{number}" for number in range(1_000)]
    for number in (0, 255, 256, 999):
        await registered(opened, app, f"d{number}", api=BEAMS, client_id=names[number])
    selector = Selector(clients=tuple(names), apis=(BEAMS,))
    for limit in (1, 3, 4):
        walk = Walk(opened, app, selector, limit)
        walk.all()
        assert walk.found == ["d0", "d255", "d256", "d999"]


def selectors() -> Iterator[Selector]:
    """Each is for one device of many that it is found among."""
    yield Selector(channel=CHANNEL, transports=("web",))
    yield Selector(clients=("me",), transports=("web",), apis=(ABLY, BEAMS))
    yield Selector(client_id="me", apis=(BEAMS,))
    yield Selector(clients=("me",), topics=("rare",), space=INTERESTS, apis=(BEAMS,))
    yield Selector(topics=("rare", "usual"), space=INTERESTS, apis=(BEAMS,), transports=("web",))


@pytest.mark.parametrize("number", range(5))
async def test_a_page_looks_at_so_many(
    opened: Broker, app: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says where it stopped, if it found nobody: a hundred thousand devices of the wrong kind
    are no reason to hold a transaction open."""
    monkeypatch.setattr(expansion, "LOOKED_AT_MAX", 7)
    names = [f"d{number:02}" for number in range(40)]
    await registered(opened, app, *names, api=ABLY, client_id="me")
    await registered(opened, app, "b1", "b2", api=BEAMS, client_id="me")
    web = {"transportType": "web", "address": "w"}
    await registered(opened, app, "w1", api=BEAMS, client_id="me", recipient=web)
    await registered(opened, app, "w2", api=ABLY, client_id="me", recipient=web)
    for client in [f"c{number}" for number in range(30)]:
        await opened.push.subscribe(app, of_client(client))
    await opened.push.subscribe(app, of_client("me"))
    for id_ in ("w1", "b1"):
        await opened.push.topics.change(app, id_, INTERESTS, on=["usual"])
    await opened.push.topics.change(app, "w1", INTERESTS, on=["rare"])
    wanted = [["w2"], ["w1", "w2"], ["b1", "b2", "w1"], ["w1"], ["w1"]][number]
    selector, found, cursor, pages = list(selectors())[number], [], b"", 0
    while cursor is not None:
        with opened.rows() as rows:
            devices, cursor = expansion.page(rows, app, selector, cursor, 2)
        found += [device.id for device in devices]
        pages += 1
    assert sorted(found) == wanted
    assert pages > 5 or number == 4
