"""A device whose address is dead: APIs that have no failed devices forget it, and what was known of
it cannot be read any more; unless it has another address by then."""

import json
from pathlib import Path

import pytest
import trio

from broker.event import Kind
from broker.push.attempts import FAILED
from broker.push.deliveries import LOG_RETRY_S
from broker.push.events import ABLY, BEAMS, INTERESTS, MATRIX
from broker.push.key_ids import device_of
from storage.keyfile import NAME
from tests.broker.acting import Time
from tests.broker.push_outbox.delivering import CHANNEL, Delivering
from tests.broker.push_outbox.gateway import Late, address, dead

pytestmark = pytest.mark.timeout(60)
FORGOTTEN = pytest.mark.parametrize("api", [BEAMS, MATRIX])


def has_key(b: Delivering, device: str) -> bool:
    ids = b.broker.push._sealer.ids()
    return (b.app, device) in {device_of(id_) for id_ in ids}


def is_there(b: Delivering, device: str) -> bool:
    return b.broker.push.device(b.app, device, api=None) is not None


async def told(b: Delivering) -> list[dict[str, object]]:
    """What `[meta]log:push` says."""
    await b.settled()
    events = await b.events(Kind.EPHEMERAL, "[meta]log:push")
    return [json.loads(event.message.data) for event in events]


@FORGOTTEN
async def test_it_is_forgotten_with_all_that_it_had(
    outbox: Delivering, time: Time, api: str
) -> None:
    outbox.gateway.says("d", dead())
    await outbox.registered("d", "e", api=api)
    await outbox.broker.push.topics.replace(outbox.app, "d", INTERESTS, ["a", "b"], 9)
    await outbox.notify(channel=CHANNEL, apis=(api,))
    await outbox.until_delivered()
    await outbox.until(lambda: not has_key(outbox, "d"))
    assert not is_there(outbox, "d")
    assert (is_there(outbox, "e"), has_key(outbox, "e")) == (True, True)
    with outbox.broker.rows() as rows:
        assert len(dict(rows.scan("push"))) == 4, "those of the other device, and the channel"
    (message,) = await told(outbox)
    assert (message["deviceId"], message["state"], message["verdict"]) == ("d", FAILED, "dead")
    assert (message["code"], message["api"]) == (103005, api)
    await outbox.notify(channel=CHANNEL, apis=(api,))
    await outbox.until_delivered()
    assert sorted(outbox.gateway.names()) == ["d", "e", "e"]
    assert len(await told(outbox)) == 1


async def test_ablys_is_kept(outbox: Delivering, time: Time) -> None:
    outbox.gateway.says("d", dead())
    await outbox.register("d", api=ABLY)
    await outbox.notify(device_id="d")
    await outbox.until_delivered()
    assert outbox.standing("d") == (FAILED, 1)
    assert has_key(outbox, "d")


@FORGOTTEN
@pytest.mark.parametrize("how", ["another address", "the same address again"])
async def test_not_if_it_was_told_of_an_address_of_before(
    outbox: Delivering, time: Time, api: str, how: str
) -> None:
    late = trio.Event()
    outbox.gateway.says("d", Late(late, dead()))
    await outbox.register("d", api=api)
    await outbox.notify(device_id="d", apis=(api,))
    await outbox.gateway.until(1)
    if how == "another address":
        await outbox.broker.push.patch(outbox.app, "d", recipient=address("new"))
    else:
        await outbox.register("d", api=api)
    late.set()
    await outbox.until_delivered()
    assert outbox.standing("d") == ("ACTIVE", 0)
    assert has_key(outbox, "d")
    await outbox.notify(device_id="d", apis=(api,))
    await outbox.until_delivered()
    assert outbox.gateway.names() == ["d", "new" if how == "another address" else "d"]


@FORGOTTEN
async def test_a_key_that_cannot_be_destroyed_yet_is_tried_again(
    outbox: Delivering, time: Time, api: str, path: Path
) -> None:
    """Nothing is settled before: a crash does not leave it to nobody."""
    in_the_way = path / f"{NAME}.new"
    in_the_way.mkdir()
    outbox.gateway.says("d", dead())
    await outbox.register("d", api=api)
    await outbox.notify(device_id="d", apis=(api,))
    await outbox.until(lambda: not is_there(outbox, "d"))
    await outbox.nothing_happens()
    assert has_key(outbox, "d")
    in_the_way.rmdir()
    while has_key(outbox, "d"):
        await time.passes(int(LOG_RETRY_S * 1_000), outbox)
    await outbox.until_delivered()
    assert len(await told(outbox)) == 1
