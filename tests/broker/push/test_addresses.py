"""Devices that are found by their address, and what becomes of those that have the same one."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
import trio

import broker
from broker import Broker, NotFound
from broker.push import registration
from broker.push.events import APIS, BEAMS, INTERESTS, MATRIX, Device
from broker.push.registration import (
    SHARED_MAX,
    AddressMoved,
    AddressTaken,
    AlreadyBound,
    AnotherApis,
    OnTaken,
    TooManyDevices,
    TooManyShare,
)
from broker.push.sealing import key_id
from tests.broker.conftest import FakeClock
from tests.broker.push.registered import address, enabled, ids, on_disk, registered, spec
from tests.broker.push.test_erasure import key_ids

SEED = int(os.environ.get("TIDELOG_SEED", random.randrange(1 << 32)))
ROUNDS = 15


@pytest.fixture
async def app(opened: Broker) -> str:
    return await enabled(opened)


async def held(b: Broker, app: str, text: str) -> list[str]:
    return sorted(device.id for device in await b.push.addressed(app, text))


def known(b: Broker, app: str, id_: str) -> Device | None:
    return b.push.device(app, id_, api=None)


async def beams(b: Broker, app: str, id_: str, text: str = "one", **fields: Any) -> Device:
    return await b.push.register_address(app, spec(id_, address=text, api=BEAMS, **fields))


async def test_a_device_is_found_by_its_address(opened: Broker, app: str, path: Path) -> None:
    other = (await opened.apps.create()).id
    await registered(opened, app, "d", "e", address="a secret text")
    await registered(opened, app, "f", address="another")
    await registered(opened, app, "g", "h")
    await registered(opened, other, "x", address="a secret text")
    assert await held(opened, app, "a secret text") == ["d", "e"]
    assert await held(opened, other, "a secret text") == ["x"]
    assert await held(opened, app, "") == []
    assert b"a secret text" not in on_disk(path)


async def test_with_an_address_goes_what_it_is_found_by(opened: Broker, app: str) -> None:
    await registered(opened, app, "d", "e", "f", address="one")
    await opened.push.patch(app, "d", recipient=address("two"), address="two")
    await opened.push.patch(app, "e", client_id="me")
    await registered(opened, app, "f")
    assert [await held(opened, app, text) for text in ("one", "two")] == [["e"], ["d"]]
    await opened.push.remove(app, device="e", api=None)
    assert await held(opened, app, "one") == []


async def test_it_is_found_by_the_next_process(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        app = b.default_app()
        await registered(b, app, "d", address="one")
    async with broker.open(path, clock=clock) as b:
        assert await held(b, app, "one") == ["d"]
        await b.push.remove(app, device="d")
    async with broker.open(path, clock=clock) as b:
        await registered(b, app, "e", address="one")
        assert await held(b, app, "one") == ["e"]
        assert key_ids(path) == {key_id(app, "e")}


async def test_who_shares_who_is_refused_who_replaces(opened: Broker, app: str, path: Path) -> None:
    await registered(opened, app, "a", "b", address="one", api=MATRIX)
    await registered(opened, app, "theirs", address="one", api=BEAMS)
    given = spec("c", address="one", api=MATRIX)
    with pytest.raises(AddressTaken) as refused:
        await opened.push.register(app, given, on_taken=OnTaken.REFUSE)
    assert refused.value.device in {"a", "b"}
    assert await held(opened, app, "one") == ["a", "b", "theirs"]
    await opened.push.register(app, given, on_taken=OnTaken.REPLACE)
    assert await held(opened, app, "one") == ["c", "theirs"]
    assert key_ids(path) == {key_id(app, id_) for id_ in ("c", "theirs")}
    await opened.push.register(app, spec("d", address="two", api=MATRIX))
    change: dict[str, Any] = {"recipient": address("one"), "address": "one"}
    with pytest.raises(AddressTaken):
        await opened.push.patch(app, "d", **change, on_taken=OnTaken.REFUSE)
    assert await held(opened, app, "two") == ["d"]
    await opened.push.patch(app, "d", **change, on_taken=OnTaken.REPLACE)
    assert await held(opened, app, "one") == ["d", "theirs"]
    assert key_ids(path) == {key_id(app, id_) for id_ in ("d", "theirs")}


async def test_so_many_share_an_address(
    opened: Broker, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who replaces them does it in one commit, of no more events than one has room for."""
    assert SHARED_MAX < 500
    monkeypatch.setattr(registration, "SHARED_MAX", 3)
    await registered(opened, app, "a", "b", "c", address="one")
    with pytest.raises(TooManyShare):
        await registered(opened, app, "d", address="one")
    await registered(opened, app, "a", address="one")
    await registered(opened, app, "e", address="two")
    with pytest.raises(TooManyShare):
        await opened.push.patch(app, "e", recipient=address("one"), address="one")
    await opened.push.register(app, spec("d", address="one"), on_taken=OnTaken.REPLACE)
    assert await held(opened, app, "one") == ["d"]


async def test_an_id_is_one_apis(opened: Broker, app: str, path: Path) -> None:
    (made,) = await registered(opened, app, "d", api=BEAMS)
    for api in set(APIS) - {BEAMS}:
        with pytest.raises(AnotherApis):
            await opened.push.register(app, spec("d", api=api))
    assert opened.push.device(app, "d") is None
    assert known(opened, app, "d") == made
    await opened.push.remove(app, device="d")
    await opened.push.remove(app)
    assert known(opened, app, "d") == made
    assert opened.push.recipient(app, made) == address("of d")
    await opened.push.remove(app, api=BEAMS)
    assert known(opened, app, "d") is None
    assert key_ids(path) == set()


async def test_who_registers_again_has_the_device_it_had(
    opened: Broker, app: str, path: Path
) -> None:
    first = await beams(opened, app, "b1")
    await opened.push.bind(app, "b1", "me", 9)
    await opened.push.topics.replace(app, "b1", INTERESTS, ["i"], 9)
    again = await beams(opened, app, "b2", metadata={"new": 1})
    assert (again.id, again.rev, again.client_id) == ("b1", 2, "me")
    assert (again.token_id, again.metadata) == (first.token_id, {"new": 1})
    assert await opened.push.topics.page(app, "b1", INTERESTS, limit=9) == [("i", True)]
    assert key_ids(path) == {key_id(app, "b1")}
    assert (await beams(opened, app, "b3", "two")).id == "b3"


async def test_an_address_that_several_came_to_have(opened: Broker, app: str, path: Path) -> None:
    """Whoever registers it is one of them, and then the only one."""
    await registered(opened, app, "a", "b", "c", address="one", api=BEAMS)
    made = await beams(opened, app, "d")
    assert await held(opened, app, "one") == [made.id]
    assert made.id in {"a", "b", "c"}
    assert key_ids(path) == {key_id(app, made.id)}


async def test_a_device_that_moved_on_is_not_taken_back(opened: Broker, app: str) -> None:
    """Between who looked for the address and who registers it."""
    await beams(opened, app, "b1")
    await opened.push.patch(app, "b1", recipient=address("two"), address="two")
    late = spec("b1", address="one", api=BEAMS)
    with pytest.raises(AddressMoved):
        await opened.push.register(app, late, is_known=True)
    assert await held(opened, app, "two") == ["b1"]
    await opened.push.remove(app, device="b1", api=BEAMS)
    with pytest.raises(AddressMoved):
        await opened.push.register(app, late, is_known=True)
    assert known(opened, app, "b1") is None


async def test_an_address_registered_moved_and_removed_at_once(
    opened: Broker, app: str, path: Path
) -> None:
    """However it goes: one device an address, each can be reached, and has the only keys."""
    print(f"TIDELOG_SEED={SEED}")
    choices = random.Random(SEED)
    for number in range(ROUNDS):
        async with trio.open_nursery() as nursery:
            for step in range(choices.randint(2, 8)):
                text = choices.choice(["one", "two"])
                kind = choices.choice([_register, _register, _move, _remove])
                nursery.start_soon(kind, opened, app, f"b{number}-{step}", text)
        everybody = [one for t in ("one", "two") for one in await opened.push.addressed(app, t)]
        assert len({one.address for one in everybody}) == len(everybody)
        assert key_ids(path) == {key_id(app, one.id) for one in everybody}
        for one in everybody:
            assert opened.push.recipient(app, one), number


async def _register(b: Broker, app: str, id_: str, text: str) -> None:
    made = await beams(b, app, id_, text)
    assert made.address


async def _move(b: Broker, app: str, id_: str, text: str) -> None:
    for one in await b.push.addressed(app, text):
        to = "two" if text == "one" else "one"
        try:
            await b.push.patch(
                app, one.id, recipient=address(to), address=to, on_taken=OnTaken.REPLACE
            )
        except NotFound:
            return


async def _remove(b: Broker, app: str, id_: str, text: str) -> None:
    for one in await b.push.addressed(app, text):
        await b.push.remove(app, device=one.id, api=None)


async def test_binding(opened: Broker, app: str) -> None:
    await registered(opened, app, "a", "b", "c", api=BEAMS)
    (web,) = await registered(
        opened, app, "w", api=BEAMS, recipient={"transportType": "web", "targetUrl": "https://w"}
    )
    await registered(opened, app, "theirs", client_id="me")
    for _ in range(2):
        await opened.push.bind(app, "a", "me", 2)
    with pytest.raises(AlreadyBound):
        await opened.push.bind(app, "a", "you", 2)
    await opened.push.bind(app, "b", "me", 2)
    with pytest.raises(TooManyDevices) as refused:
        await opened.push.bind(app, "c", "me", 2)
    assert refused.value.status == 422
    await opened.push.bind(app, web.id, "me", 2)
    await opened.push.bind(app, "c", "you", 2)
    with pytest.raises(NotFound):
        await opened.push.bind(app, "gone", "me", 2)
    assert await ids(opened, app, client="me", api=BEAMS) == {"a", "b", "w"}
    await opened.push.remove(app, client="me", api=BEAMS)
    assert await ids(opened, app, client="me", api=None) == {"theirs"}
    await opened.push.bind(app, "c", "you", 2)


async def test_of_many_who_bind_at_once_so_many_are_bound(opened: Broker, app: str) -> None:
    """And those that are removed meanwhile are not there, bound or not."""
    names = [f"d{number}" for number in range(20)]
    await registered(opened, app, *names, api=BEAMS)
    refused: list[str] = []

    async def bind(id_: str) -> None:
        try:
            await opened.push.bind(app, id_, "me", 10)
        except (TooManyDevices, NotFound):
            refused.append(id_)

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(bind, name)
        for name in names[:5]:
            nursery.start_soon(opened.push.remove, app)
            nursery.start_soon(lambda name: opened.push.remove(app, device=name, api=None), name)
    bound = await ids(opened, app, client="me", api=BEAMS)
    assert bound <= set(names[5:])
    assert len(bound) <= 10
    assert len(refused) >= 5
    assert len(await ids(opened, app, api=BEAMS)) == 15
