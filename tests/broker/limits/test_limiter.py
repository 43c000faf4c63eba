"""Limits of apps, keys and channels, as publishers and administrators meet them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

import broker
from broker import BadRequest, Broker, BrokerSettings, NotFound, Overloaded, RateLimitSettings
from broker.auth.credentials import Principal
from broker.domain import broker_domain
from broker.limits.only_if_known import only_if_known
from broker.limits.over import Over
from broker.messages.message import Message
from broker.messages.publishing import Publish
from broker.tenancy import Limits, NamespaceRules


@pytest.fixture
def time() -> MockClock:
    """It stands still until a test moves it."""
    return MockClock()


def limited(**limits: int) -> BrokerSettings:
    return BrokerSettings(rate_limits=RateLimitSettings(**limits))


def root(b: Broker) -> Principal:
    return b.authenticate(key=b.apps.keys(b.default_app())[0].string)


async def publish(b: Broker, channel: str = "c", *ids: str, size: int = 10, count: int = 1) -> Any:
    messages = [Message(data="x" * size, id=i) for i in ids] or [Message(data="x" * size)] * count
    return await b.publish(root(b), channel, messages)


async def refused(b: Broker, channel: str = "c", **more: Any) -> tuple[int, float | None]:
    before = b.log.position
    with pytest.raises(Overloaded) as refusal:
        await publish(b, channel, **more)
    assert (refusal.value.status, b.log.position) == (429, before)
    return refusal.value.code, refusal.value.retry_after_s


async def followed(b: Broker) -> None:
    """Until what was changed is known to all."""
    await b.channel("followed").publish()
    async with b.channel("followed").subscribe(rewind=1) as messages:
        await anext(messages)


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ("app_messages_per_s", 42917),
        ("key_messages_per_s", 42910),
        ("channel_messages_per_s", 42913),
        ("app_bytes_per_s", 42917),
        ("key_bytes_per_s", 42910),
        ("channel_bytes_per_s", 42914),
    ],
)
async def test_each_limit_has_its_code(path: Path, time: MockClock, limit: str, code: int) -> None:
    async with broker.open(path, settings=limited(**{limit: 20})) as b:
        await publish(b, size=10, count=2)
        await publish(b, count=18, size=0)
        assert await refused(b, count=20, size=1) == (code, pytest.approx(1.0))
        assert b.epoch.rate_limits.refused == {limit: 1}
        time.jump(1)
        await publish(b, count=20, size=1)


async def test_a_channel_s_limit_is_its_own_and_an_app_s_is_for_all(
    path: Path, time: MockClock
) -> None:
    settings = limited(channel_messages_per_s=1, app_messages_per_s=2)
    async with broker.open(path, settings=settings) as b:
        await publish(b, "a")
        assert await refused(b, "a") == (42913, pytest.approx(1.0))
        await publish(b, "b")
        assert await refused(b, "c") == (42917, pytest.approx(0.5))
        time.jump(0.5)
        await publish(b, "c")


async def test_a_repeat_is_answered_like_the_first_however_much_came(
    path: Path, time: MockClock
) -> None:
    async with broker.open(path, settings=limited(channel_messages_per_s=1)) as b:
        first = await publish(b, "c", "id-1")
        for _ in range(3):
            again = await publish(b, "c", "id-1")
            assert (again.serials, again.duplicate) == (first.serials, True)
        before = b.log.position
        with pytest.raises(Overloaded) as refusal:
            await publish(b, "c", "id-2")
        assert (refusal.value.code, b.log.position) == (42913, before)
        assert refusal.value.retry_after_s == pytest.approx(1.0)
        time.jump(1)
        assert not (await publish(b, "c", "id-2")).duplicate


async def test_of_several_publishes_each_is_judged_alone(path: Path, time: MockClock) -> None:
    async with broker.open(path, settings=limited(channel_messages_per_s=1)) as b:
        await publish(b, "a", "known")
        one = Message(data="1")
        wanted = [("a", [one]), ("b", [one]), ("a", [Message(data="1", id="known")])]
        results = await b.publish_each(root(b), wanted)
        codes = [getattr(result, "code", None) for result in results]
        assert codes == [42913, None, None]
        assert len((await b.channel("b").history()).messages) == 1


async def test_a_publish_larger_than_its_burst_is_not_refused_for_ever(
    path: Path, time: MockClock
) -> None:
    async with broker.open(path, settings=limited(app_messages_per_s=10)) as b:
        await publish(b, count=100)
        assert await refused(b, count=100) == (42917, pytest.approx(10.0))
        time.jump(10)
        await publish(b, count=100)


async def test_what_the_program_itself_publishes_is_not_limited(
    path: Path, time: MockClock
) -> None:
    async with broker.open(path, settings=limited(app_messages_per_s=1)) as b:
        for _ in range(5):
            await b.channel("c").publish(data="x")
        assert not b.epoch.rate_limits.refused


@pytest.fixture
async def b(path: Path, time: MockClock) -> AsyncIterator[Broker]:
    """Nothing is limited at first."""
    async with broker.open(path) as opened:
        yield opened


async def test_off_is_off(b: Broker) -> None:
    await publish(b, count=1_000)
    assert (b.epoch.rate_limits.is_on, b.epoch.rate_limits.buckets) == (False, 0)


async def test_an_app_a_key_and_a_namespace_have_limits_of_their_own(
    b: Broker, time: MockClock
) -> None:
    app, key = b.default_app(), b.apps.keys(b.default_app())[0]
    await b.apps.set_limits(app, Limits(messages_per_s=3))
    await b.apps.set_limits(app, Limits(messages_per_s=2), key=key.key_id)
    await b.apps.set_namespace(app, "slow", NamespaceRules(messages_per_s=1))
    await followed(b)
    await publish(b, "slow:1")
    assert (await refused(b, "slow:1"))[0] == 42913
    await publish(b, "slow:2")
    assert (await refused(b, "c"))[0] == 42910
    await b.apps.set_limits(app, Limits(), key=key.key_id)
    await followed(b)
    await publish(b)
    assert (await refused(b))[0] == 42917
    await b.apps.set_limits(app, Limits())
    await followed(b)
    await publish(b, count=100)


async def test_zero_takes_a_setting_back(path: Path, time: MockClock) -> None:
    async with broker.open(path, settings=limited(app_messages_per_s=1)) as b:
        await b.apps.set_limits(b.default_app(), Limits(messages_per_s=0))
        await followed(b)
        for _ in range(3):
            await publish(b)


async def test_limits_are_there_when_it_is_opened_again_and_when_it_was_rebuilt(
    path: Path, time: MockClock
) -> None:
    async with broker.open(path) as b:
        app = b.default_app()
        await b.apps.set_limits(app, Limits(messages_per_s=1))
    async with broker.open(path) as b:
        await b.rebuild()
        await publish(b)
        assert (await refused(b))[0] == 42917
        await b.apps.delete(app)
        await b.apps.create(app)
        assert b.apps.limits(app) == Limits()


@pytest.mark.parametrize(
    ("limits", "key"),
    [(Limits(messages_per_s=-1), None), (Limits(connections_max=1), "root"), (Limits(), "none")],
)
async def test_what_makes_no_sense_is_refused(b: Broker, limits: Limits, key: str | None) -> None:
    app = b.default_app()
    if key == "root":
        key = b.apps.keys(app)[0].key_id
    with pytest.raises((BadRequest, NotFound)):
        await b.apps.set_limits(app, limits, key=key)
    assert not b.epoch.rate_limits.is_on


async def test_a_namespace_s_rate_is_checked(b: Broker) -> None:
    with pytest.raises(BadRequest, match="messages_per_s"):
        await b.apps.set_namespace(b.default_app(), "n", NamespaceRules(messages_per_s=-1))


def test_what_only_succeeds_if_it_is_known_is_a_plain_value() -> None:
    """So that it can go to a writer in another process, like any command."""
    over = Over("channel_messages_per_s", 1, 0.5)
    command = Publish("app", "c", (Message(id="a:0", data=b"x"),), keyed=True)
    wrapped = only_if_known(command, over)
    read = msgspec.msgpack.Decoder(type(wrapped)).decode(msgspec.msgpack.encode(wrapped))
    assert read.command.channel == "c"
    assert (read.over, type(wrapped) in broker_domain().decide) == (over, True)
