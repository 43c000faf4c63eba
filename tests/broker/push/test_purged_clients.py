"""What is left of a client's devices when the client is purged: nothing, of any API."""

from pathlib import Path

import msgspec
import pytest

from broker import Broker, purge
from broker.errors import Unavailable
from broker.push.events import BEAMS
from storage.keyfile import NAME
from tests.broker.conftest import FakeClock
from tests.broker.push.registered import enabled, ids, of_client, spec
from tests.broker.push.test_erasure import key_ids


async def test_its_devices_and_subscriptions_go_and_others_stay(opened: Broker):
    app = await enabled(opened)
    push = opened.push
    for id_, client in (("mine", "me"), ("yours", "you")):
        await push.register(app, spec(id_, client))
        await push.subscribe(app, of_client(client))
    device = await push.register(app, msgspec.structs.replace(spec("web-1", "me"), api=BEAMS))
    await opened.purge(app, client_id="me")
    assert await ids(opened, app, api=None) == {"yours"}
    assert push.recipient(app, device) == {}  # its key is gone
    left = await push.lists.subscriptions(app, limit=10)
    assert [one.client_id for one in left.items] == ["you"]


async def test_a_device_that_is_registered_after_the_request_stays(
    opened: Broker, clock: FakeClock
):
    app = await enabled(opened)
    await opened.push.register(app, spec("old", "me"))
    await opened.submit(purge.Purge(app, None, "me"), app=app)
    clock.advance(1)
    await opened.push.register(app, spec("new", "me"))
    await opened._purge_pending()
    assert await ids(opened, app) == {"new"}


async def test_a_purge_is_not_over_before_the_keys_are_gone(opened: Broker, path: Path):
    """The devices are removed by then, and nothing else leads to their keys."""
    app = opened.default_app()
    await opened.push.register(app, spec("mine", "me"))
    in_the_way = path / f"{NAME}.new"
    in_the_way.mkdir()
    with pytest.raises(Unavailable):
        await opened.purge(app, client_id="me")
    assert await ids(opened, app) == set()
    with pytest.raises(Unavailable):
        await opened._purge_pending()
    in_the_way.rmdir()
    await opened._purge_pending()
    assert key_ids(path) == set()
