"""Notifying through Matrix channels, in process: who gets it, and which channels there are."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import broker
from broker import BadRequest, Broker
from broker.push.events import MATRIX, MATRIX_CHANNELS, Selector
from broker.push.registration import TooManyDevices
from broker.push.service import DeviceSpec
from broker.push.transport import SENT, Outgoing, Result
from tests.broker.push_outbox.settling import settled

PAYLOAD = {"notification": {"title": "t"}}


class Gateway:
    """Takes everything; `told` has the pushkeys in order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def endpoint(self, outgoing: Outgoing) -> str:
        return "gateway"

    async def send(self, outgoing: Outgoing) -> Result:
        self.told.append(outgoing.recipient["pushkey"])
        return SENT


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
async def notifying(tmp_path: Path, gateway: Gateway) -> AsyncIterator[Broker]:
    """Ann has two pushers, of which one has "task" enabled; bob has one, with "task"."""
    async with broker.open(tmp_path / "data", transports={"matrix": gateway}) as b:
        app = b.default_app()
        await b.matrix.set_channels(app, {"task": "disabled", "news": "disabled"})
        for user, pushkey, on in (
            ("ann", "a1", ["task"]),
            ("ann", "a2", []),
            ("bob", "b1", ["task", "news"]),
        ):
            await b.push.register(app, spec(pushkey, user))
            await b.push.topics.change(app, pushkey, MATRIX_CHANNELS, on=on)
        yield b


def spec(pushkey: str, user: str, **fields: Any) -> DeviceSpec:
    return DeviceSpec(
        id=pushkey,
        platform="other",
        form_factor="other",
        recipient={"transportType": "matrix", "pushkey": pushkey},
        client_id=user,
        api=MATRIX,
        **fields,
    )


@pytest.mark.parametrize(
    ("whom", "pushkeys"),
    [
        ({"matrix_channel": "task"}, {"a1", "b1"}),
        ({"matrix_channel": "task", "client_id": "ann"}, {"a1"}),
        ({"matrix_channel": "news", "client_id": "ann"}, set()),
        ({"matrix_channel": "news"}, {"b1"}),
        ({"client_id": "ann"}, {"a1", "a2"}),
    ],
)
async def test_who_is_notified(
    notifying: Broker, gateway: Gateway, whom: dict[str, str], pushkeys: set[str]
) -> None:
    await notifying.push(PAYLOAD, **whom)
    await settled(notifying)
    assert sorted(gateway.told) == sorted(pushkeys)


async def test_a_channel_that_is_not_there(notifying: Broker) -> None:
    app, push = notifying.default_app(), notifying.push
    before = notifying.log.position
    with pytest.raises(BadRequest, match="no Matrix channel 'nothing'"):
        await push(PAYLOAD, matrix_channel="nothing")
    wanted = [Selector(topics=(name,), space=MATRIX_CHANNELS) for name in ("task", "nothing")]
    with pytest.raises(BadRequest, match="nothing"):
        await push.publish_each(app, [(one, PAYLOAD) for one in wanted])
    with pytest.raises(BadRequest, match="a Matrix channel"):
        await push(PAYLOAD, matrix_channel="task", device_id="a1")
    assert notifying.log.position == before


async def test_what_a_new_device_begins_with_is_there_with_it(notifying: Broker) -> None:
    app, push = notifying.default_app(), notifying.push
    begins: dict[str, Any] = {"topics": ("news",), "space": MATRIX_CHANNELS}
    await push.register(app, spec("c1", "cat", **begins))
    topics = await push.topics.page(app, "c1", MATRIX_CHANNELS, limit=9)
    assert [tuple(one) for one in topics] == [("news", True)]
    await push.topics.change(app, "c1", MATRIX_CHANNELS, gone=["news"])
    await push.register(app, spec("c1", "cat", **begins))
    assert await push.topics.page(app, "c1", MATRIX_CHANNELS, limit=9) == []


async def test_a_client_may_have_so_many(notifying: Broker) -> None:
    app, push = notifying.default_app(), notifying.push
    await push.register(app, spec("a2", "ann"), limit=2)
    with pytest.raises(TooManyDevices):
        await push.register(app, spec("a3", "ann"), limit=2)
    assert push.device(app, "a3", api=MATRIX) is None
    await push.register(app, spec("b2", "bob"), limit=2)
