"""A log with devices, exported and imported, is the same log.

Their keys stay behind: where an export goes, nobody can be reached by it.
"""

from pathlib import Path

import trio

import broker
from broker import offline
from storage import LogSettings
from tests.broker.conftest import FakeClock
from tests.broker.push.registered import enabled, of_client, registered

SETTINGS = LogSettings()


async def test_what_was_imported_is_the_same_log(path: Path, clock: FakeClock) -> None:
    async with broker.open(path, clock=clock) as b:
        app = await enabled(b)
        await registered(b, app, "d", client_id="me", metadata={"a": [1]}, secret="s3cret")
        await registered(b, app, "e")
        await b.push.subscribe(app, of_client("me"))
        await b.push.patch(app, "d", metadata={})
        await b.push.remove(app, device="e")
        devices = await b.push.lists.devices(app, limit=10)
    copy = path.with_name("copy")
    await trio.to_thread.run_sync(_copy, path, copy)
    assert offline.fingerprint(copy, SETTINGS) == offline.fingerprint(path, SETTINGS)
    assert offline.verify(copy, SETTINGS) == []
    async with broker.open(copy, clock=clock) as b:
        assert await b.push.lists.devices(app, limit=10) == devices
        (device,) = devices.items
        assert b.push.recipient(app, device) == {}


def _copy(path: Path, copy: Path) -> None:
    lines = [line for line, _ in offline.export(path, SETTINGS)]
    offline.import_lines(copy, lines, SETTINGS)
