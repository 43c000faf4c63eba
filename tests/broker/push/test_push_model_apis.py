"""Random histories of devices of several APIs: found by address, bound to users, subscribed to
topics, among all that happens to Ably's (test_push_model.py).

    TIDELOG_SEED=17 TIDELOG_SEEDS=1 pytest tests/broker/push/test_push_model_apis.py
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from broker import NotFound
from broker.push import expansion
from broker.push.events import BEAMS, INTERESTS, MATRIX, MATRIX_CHANNELS, Selector
from broker.push.registration import AddressTaken, AlreadyBound, OnTaken, TooManyDevices
from tests.broker.push.push_model import AppModel, Known
from tests.broker.push.registered import address, spec
from tests.broker.push.test_push_model import CLIENTS, SEEDS, History, Step, run

TEXTS = ["one", "two", "three", "four"]
PUSHERS = [f"m{number}" for number in range(5)]
TOPICS = ["a", "b", "c"]
SPACES = {BEAMS: INTERESTS, MATRIX: MATRIX_CHANNELS}
LIMIT = 2


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few devices, and few topics, are many."""
    monkeypatch.setattr("broker.push.removal.REMOVED_AT_ONCE", 3)
    monkeypatch.setattr("broker.push.removal.TOPICS_AS_ONE", 2)
    monkeypatch.setattr("broker.push.expansion.LOOKED_AT_MAX", 5)


class ApisHistory(History):
    number = 0

    def a_known(self, model: AppModel, api: str) -> str:
        """A device's id, or one of no device."""
        known = [id_ for id_, one in model.devices.items() if one.api == api]
        return self.random.choice([*known, "gone"])

    def an_api(self) -> str:
        return self.random.choice([BEAMS, MATRIX])

    async def register_address(self) -> None:
        app, model = self.some()
        text, self.number = self.random.choice(TEXTS), self.number + 1
        holders = model.holders(text, BEAMS)
        known = Known(self.text(), api=BEAMS, found_by=text, metadata={"n": self.number})
        given = spec(
            f"b{self.number}", api=BEAMS, address=text, recipient=address(known.address),
            metadata=known.metadata,
        )  # fmt: skip
        made = await self.push.register_address(app, given)
        assert made.id in (holders or {f"b{self.number}"})
        before = model.devices.get(made.id)
        model.register(
            made.id, replace(known, client=before.client if before else None), made.created_ms
        )
        for other in holders - {made.id}:
            model.remove(other, api=BEAMS)

    async def register_pusher(self) -> None:
        app, model = self.some()
        id_, text = self.random.choice(PUSHERS), self.random.choice(TEXTS)
        on_taken = self.random.choice(list(OnTaken))
        others = model.holders(text, MATRIX) - {id_}
        client = self.random.choice(CLIENTS)
        known = Known(self.text(), client=client, api=MATRIX, found_by=text)
        given = spec(id_, client, api=MATRIX, address=text, recipient=address(known.address))
        if others and on_taken is OnTaken.REFUSE:
            with pytest.raises(AddressTaken) as refused:
                await self.push.register(app, given, on_taken=on_taken)
            assert refused.value.device in others
            return
        made = await self.push.register(app, given, on_taken=on_taken)
        model.register(id_, known, made.created_ms)
        if on_taken is OnTaken.REPLACE:
            for other in others:
                model.remove(other, api=MATRIX)

    async def move(self) -> None:
        """To another address, which others may have."""
        app, model = self.some()
        id_, text = self.a_known(model, self.an_api()), self.random.choice(TEXTS)
        sealed = self.text()
        api = model.devices[id_].api if id_ in model.devices else BEAMS
        others = model.holders(text, api) - {id_}
        moved = model.patch(id_, address=sealed, found_by=text)
        with suppress(NotFound):
            await self.push.patch(
                app, id_, recipient=address(sealed), address=text, on_taken=OnTaken.REPLACE
            )
            assert moved
            for other in others:
                model.remove(other, api=api)

    async def bind(self) -> None:
        app, model = self.some()
        id_, user = self.a_known(model, BEAMS), self.random.choice(CLIENTS)
        if model.bind(id_, user, LIMIT):
            await self.push.bind(app, id_, user, LIMIT)
        else:
            with pytest.raises((NotFound, AlreadyBound, TooManyDevices)):
                await self.push.bind(app, id_, user, LIMIT)

    async def turn(self) -> None:
        app, model = self.some()
        api = self.an_api()
        id_, space = self.a_known(model, api), SPACES[api]
        asked = {name: self.random.choice([True, False, None]) for name in TOPICS[:2]}
        which = {
            word: [name for name, value in asked.items() if value is said]
            for word, said in (("on", True), ("off", False), ("gone", None))
        }
        if model.turn(id_, space, asked):
            await self.push.topics.change(app, id_, space, **which)
        else:
            with pytest.raises(NotFound):
                await self.push.topics.change(app, id_, space, **which)

    async def replace_topics(self) -> None:
        app, model = self.some()
        api = self.an_api()
        id_, space = self.a_known(model, api), SPACES[api]
        names = self.random.sample(TOPICS, self.random.randint(0, 3))
        if model.turn(id_, space, {name: name in names or None for name in TOPICS}):
            await self.push.topics.replace(app, id_, space, names, 3)
        else:
            with pytest.raises(NotFound):
                await self.push.topics.replace(app, id_, space, names, 3)

    async def remove_of_api(self) -> None:
        app, model = self.some()
        api = self.an_api()
        which: dict[str, str] = {}
        match self.random.choice("ddddccca"):
            case "d":
                which = {"device": self.a_known(model, api)}
            case "c":
                which = {"client": self.random.choice(CLIENTS)}
        await self.push.remove(app, api=api, **which)
        model.remove(api=api, **which)

    async def compare(self) -> None:
        await super().compare()
        for app, model in self.models.items():
            for text in TEXTS:
                found = {one.id for one in await self.push.addressed(app, text)}
                assert found == model.holders(text, BEAMS) | model.holders(text, MATRIX)
            await self.compare_topics(app, model)

    async def compare_topics(self, app: str, model: AppModel) -> None:
        for id_, known in model.devices.items():
            for space in SPACES.values():
                topics = await self.push.topics.page(app, id_, space, limit=9)
                assert topics == sorted(model.topics.get((id_, space), {}).items()), known
        for api, space in SPACES.items():
            for names in (("a",), ("c", "b"), ("a", "b", "c")):
                selector = Selector(topics=names, space=space, apis=(api,))
                assert self.reached(app, selector) == model.told(names, space, api)
            selector = Selector(clients=tuple(CLIENTS), apis=(api,))
            of_clients = {id_ for client in CLIENTS for id_ in model.of_client(client)}
            assert self.reached(app, selector) == sorted(
                id_ for id_ in of_clients if model.devices[id_].api == api
            )

    def reached(self, app: str, selector: Selector) -> list[str]:
        cursor: bytes | None = b""
        told: list[str] = []
        while cursor is not None:
            with self.log.view() as rows:
                devices, cursor = expansion.page(
                    rows, app, selector, cursor, self.random.randint(1, 4)
                )
            told += [device.id for device in devices]
        return sorted(told)

    def steps(self) -> dict[Step, int]:
        return {
            **super().steps(), self.register_address: 10, self.register_pusher: 8, self.move: 5,
            self.bind: 6, self.turn: 10, self.replace_topics: 6, self.remove_of_api: 4,
        }  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_random_history(seed: int, path: Path) -> None:
    print(f"TIDELOG_SEED={seed} TIDELOG_SEEDS=1 pytest tests/broker/push/test_push_model_apis.py")
    await run(ApisHistory(seed, path))
