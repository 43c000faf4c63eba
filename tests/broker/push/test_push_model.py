"""Random histories of devices and subscriptions, against a model of plain dicts.

A history is some dozens of steps: devices that come, change, fail and go, subscriptions, trims,
restarts, rebuilds, apps that are deleted. After it the registry must hold what the model holds,
live, rebuilt and reopened; verify must find nothing; and there is a key for each device, and no
other.

    TIDELOG_SEED=17 TIDELOG_SEEDS=1 pytest tests/broker/push/test_push_model.py
"""

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from broker import NotFound
from broker.administration import CreateApp, DeleteApp, SetNamespace
from broker.domain import broker_domain
from broker.event import Kind
from broker.purge import carry_out
from broker.purge import pending as purges
from broker.push import expansion, registry
from broker.push.events import Selector, Subscription
from broker.push.key_ids import key_id
from broker.push.registration import ReportDevice
from broker.push.sealing import Sealer
from broker.push.service import Push
from broker.tenancy import NamespaceRules
from storage import Cut, Log, LogSettings, Span, Stream, open_log
from storage.keyfile import KeyFile
from storage.verify import verify
from tests.broker.conftest import FakeClock
from tests.broker.push.push_model import AppModel, Known, Of
from tests.broker.push.registered import address, spec

FIRST = int(os.environ.get("TIDELOG_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("TIDELOG_SEEDS", "12")))
STEPS = 80
HISTORY_S = 60
APPS = ("one", "two")
DEVICES = [f"d{number}" for number in range(8)]
CLIENTS = ["me", "you", "d0"]
CHANNELS = ["push:a", "push:b", "push:c"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few devices are many."""
    monkeypatch.setattr("broker.push.removal.REMOVED_AT_ONCE", 3)
    monkeypatch.setattr("broker.push.removal.LOOKED_AT_MAX", 4)
    monkeypatch.setattr("broker.push.subscriptions.ENDED_AT_ONCE", 3)


Step = Callable[[], Awaitable[None]]


class History:
    """One seed's steps, done to a log and told to a model."""

    def __init__(self, seed: int, path: Path) -> None:
        self.random = Random(seed)
        self.path = path
        self.clock = FakeClock()
        self.models = {app: AppModel() for app in APPS}
        self.done: list[str] = []
        self.settings = LogSettings(
            cached_rows_max=self.random.choice([1, 50_000]),
            maintenance_records=self.random.choice([1, 500]),
        )
        self.stack = AsyncExitStack()
        self.log: Log
        self.push: Push
        self.sealer: Sealer

    async def open(self) -> None:
        opening = open_log(self.path, broker_domain(), wall=self.clock, settings=self.settings)
        self.log = await self.stack.enter_async_context(opening)
        keys = KeyFile(self.path)
        self.stack.callback(keys.close)
        self.sealer = Sealer(keys)
        self.push = Push(self.log, self.sealer, lambda: APPS[0])

    async def create(self, app: str) -> None:
        await self.log.submit(CreateApp(app), app=app)
        rules = NamespaceRules(push_enabled=True)
        await self.log.submit(SetNamespace(app, "push", rules), app=app)

    def some(self) -> tuple[str, AppModel]:
        app = self.random.choice(APPS)
        return app, self.models[app]

    def a_device(self) -> str:
        return self.random.choice(DEVICES)

    def whose(self) -> Of:
        if self.random.random() < 0.5:
            return "device", self.a_device()
        return "client", self.random.choice(CLIENTS)

    def text(self) -> str:
        return f"text {self.random.randrange(1 << 32)}"

    async def register(self) -> None:
        app, model = self.some()
        id_, client = self.a_device(), self.random.choice([*CLIENTS, None])
        secret = self.random.choice([None, self.text()])
        known = Known(self.text(), secret, client, self.random.choice([None, {"a": 1}]))
        made = await self.push.register(
            app,
            spec(
                id_, client, recipient=address(known.address), secret=secret,
                metadata=known.metadata,
            ),
        )  # fmt: skip
        model.register(id_, known, made.created_ms)

    async def patch(self) -> None:
        app, model = self.some()
        id_ = self.a_device()
        given, told = self._changes()
        if model.patch(id_, **told):
            await self.push.patch(app, id_, **given)
        else:
            with pytest.raises(NotFound):
                await self.push.patch(app, id_, **given)

    def _changes(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """As they are asked for, and as the model has them."""
        given: dict[str, Any] = {}
        told: dict[str, Any] = {}
        if self.random.random() < 0.4:
            told["address"] = self.text()
            given["recipient"] = address(told["address"])
        if self.random.random() < 0.4:
            given["client_id"] = told["client"] = self.random.choice([*CLIENTS, None])
        if self.random.random() < 0.4:
            given["metadata"] = told["metadata"] = self.random.choice([None, {"b": self.text()}])
        return given, told

    async def report(self) -> None:
        app, model = self.some()
        id_ = self.a_device()
        rev = model.devices[id_].rev if id_ in model.devices else 1
        rev -= self.random.choice([0, 0, 1])
        said = self.random.choice([("ACTIVE", 0), ("ACTIVE", 2), ("FAILING", 3), ("FAILED", 1)])
        outcome = await self.log.submit(ReportDevice(app, id_, rev, *said), app=app)
        assert len(outcome.serials) == model.report(id_, rev, *said)

    async def subscribe(self) -> None:
        app, model = self.some()
        channel, of = self.random.choice(CHANNELS), self.whose()
        wanted = Subscription(channel, **{f"{of[0]}_id": of[1]})
        if model.subscribe(channel, of):
            await self.push.subscribe(app, wanted)
        else:
            with pytest.raises(NotFound):
                await self.push.subscribe(app, wanted)

    async def unsubscribe(self) -> None:
        app, model = self.some()
        of, channel = self.whose(), self.random.choice([*CHANNELS, None])
        await self.push.unsubscribe(app, channel=channel, **{of[0]: of[1]})
        model.unsubscribe(of, channel)

    async def remove(self) -> None:
        app, model = self.some()
        which: dict[str, str] = {}
        if self.random.random() < 0.95:
            kind, id_ = self.whose()
            which = {kind: id_}
        await self.push.remove(app, **which)
        model.remove(**which)

    async def delete_app(self) -> None:
        """And make another of that name, which has nothing of it."""
        app, _ = self.some()
        await self.log.submit(DeleteApp(app), app=app)
        with self.log.view() as rows:
            requests = purges(rows)
        for request in requests:
            await carry_out(self.log, *request)
        await self.push.forget_strangers(app)
        self.models[app] = AppModel()
        await self.compare()
        await self.create(app)

    async def trim(self) -> None:
        stream = Stream(self.random.choice(APPS), "", Kind.PUSH)
        records = (await self.log.read(stream, Span(), limit=1_000)).records
        if records:
            await self.log.trim([Cut(stream, self.random.choice(records).serial)])

    async def rebuild(self) -> None:
        before = await self.log.query(_rows)
        await self.log.rebuild()
        assert await self.log.query(_rows) == before

    async def restart(self) -> None:
        await self.stack.aclose()
        assert verify(self.path, broker_domain(), LogSettings(), lambda *_: None) == []
        await self.open()

    async def compare(self) -> None:
        for app, model in self.models.items():
            await self.compare_devices(app, model)
            await self.compare_subscriptions(app, model)
            self.compare_reached(app, model)
        rows = await self.log.query(_rows)
        assert len(rows) == sum(model.rows() for model in self.models.values())
        assert self.sealer.ids() == {
            key_id(app, id_) for app, model in self.models.items() for id_ in model.devices
        }

    async def compare_devices(self, app: str, model: AppModel) -> None:
        found = {
            device.id: Known(
                self.push.recipient(app, device)["deviceToken"],
                self.push.secret(app, device),
                device.client_id,
                device.metadata,
                device.rev,
                device.created_ms,
                device.state,
                device.failures,
                device.api,
                model.devices[device.id].found_by if device.id in model.devices else "",
            )
            for device in (await self.push.lists.devices(app, limit=100, api=None)).items
        }
        assert found == model.devices
        for client in CLIENTS:
            page = await self.push.lists.devices(app, client=client, limit=100, api=None)
            assert {device.id for device in page.items} == model.of_client(client)

    async def compare_subscriptions(self, app: str, model: AppModel) -> None:
        ways: list[dict[str, str]] = [{}, *({"channel": name} for name in CHANNELS)]
        ways += [{"device": id_} for id_ in DEVICES] + [{"client": id_} for id_ in CLIENTS]
        for where in ways:
            page = await self.push.lists.subscriptions(app, limit=100, **where)
            found = [(s.channel, _of(s)) for s in page.items]
            assert len(found) == len(set(found))
            assert set(found) == {
                (channel, of)
                for channel, of in model.subscribed
                if where.get("channel", channel) == channel and where.get(of[0], of[1]) == of[1]
                and (of[0] in where or not {"device", "client"} & set(where))
            }  # fmt: skip
        assert list((await self.push.lists.channels(app, limit=100)).items) == model.channels()

    def compare_reached(self, app: str, model: AppModel) -> None:
        for channel in CHANNELS:
            cursor: bytes | None = b""
            told: list[str] = []
            while cursor is not None:
                with self.log.view() as rows:
                    selector, limit = Selector(channel=channel), self.random.randint(1, 4)
                    devices, cursor = expansion.page(rows, app, selector, cursor, limit)
                told += [device.id for device in devices]
            assert sorted(told) == model.reached(channel)

    def steps(self) -> dict[Step, int]:
        """What may happen, and how often."""
        return {
            self.register: 12, self.patch: 6, self.report: 4, self.subscribe: 14,
            self.unsubscribe: 4, self.remove: 4, self.delete_app: 1, self.trim: 3, self.rebuild: 1,
            self.restart: 1, self.compare: 3,
        }  # fmt: skip

    async def run(self) -> None:
        steps = self.steps()
        await self.open()
        for app in APPS:
            await self.create(app)
        for step in self.random.choices(list(steps), list(steps.values()), k=STEPS):
            self.done.append(step.__name__)
            self.clock.advance(self.random.choice([0, 1, 1_000]))
            await step()
        for last in (self.compare, self.rebuild, self.restart, self.compare):
            await last()


def _of(subscription: Subscription) -> Of:
    if subscription.device_id is not None:
        assert subscription.client_id is None
        return "device", subscription.device_id
    return "client", subscription.client_id or ""


def _rows(rows: Any) -> dict[bytes, bytes]:
    return dict(rows.scan(registry.TABLE))


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_random_history(seed: int, path: Path) -> None:
    print(f"TIDELOG_SEED={seed} TIDELOG_SEEDS=1 pytest tests/broker/push/test_push_model.py")
    await run(History(seed, path))


async def run(history: History) -> None:
    try:
        with trio.fail_after(HISTORY_S):
            await history.run()
    finally:
        print(" ".join(history.done))
        await history.stack.aclose()
    assert verify(history.path, broker_domain(), LogSettings(), lambda *_: None) == []
