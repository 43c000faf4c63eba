"""A key is on disk before what it protects, and off the disk before that is said: seen at the
system calls, for SIGKILL proves nothing about fsync.
"""

import sys

import pytest

from storage.keyfile import NAME
from tests.crash.tracing import SYNCS, WRITES, Call, lines_written, read_trace, run_traced

pytestmark = pytest.mark.crash

DEVICE = "the device under trace"
NOW_MS = 1_768_500_000_000  # in January 2026
PROGRAM = f"""
import sys, trio
import broker
from broker.push.month_keys import Encryption
from broker.push.service import DeviceSpec

async def main():
    async with broker.open(sys.argv[1], clock=lambda: {NOW_MS}) as b:
        app = b.default_app()
        recipient = {{"transportType": "matrix", "encryption": {{"keyIdentifier": "k"}}}}
        encryption = Encryption(b"i" * 32, "2026-01", "k")
        spec = DeviceSpec(id={DEVICE!r}, platform="ios", form_factor="tv", recipient=recipient)
        await b.push.register(app, spec, encryption=encryption)
        print("registered", flush=True)
        await b.push._sealer.months.key(app, spec.id, "k", {NOW_MS} + 31 * 86_400_000)
        print("advanced", flush=True)
        await b.push.remove(app, device=spec.id)
        print("removed", flush=True)

trio.run(main)
"""


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    path = tmp_path_factory.mktemp("traced")
    run_traced([sys.executable, "-c", PROGRAM, str(path / "data")], path / "trace")
    return [call for call in read_trace(path / "trace") if not call.failed]


def said(calls: list[Call], word: str) -> Call:
    return next(call for call, line in lines_written(calls) if line == word)


def synced(calls: list[Call], path_end: str, after: Call, before: Call) -> bool:
    """Whether a sync of that file began after one call ended, and ended before another began."""
    return any(
        call.path.endswith(path_end) and call.begun > after.ended and call.ended < before.begun
        for call in calls
        if call.name in SYNCS
    )


def test_a_key_is_synced_before_its_device_is_written(calls: list[Call]) -> None:
    writes = [call for call in calls if call.name in WRITES and DEVICE.encode() in call.data]
    of_key = next(call for call in writes if f"/data/{NAME}" in call.path)
    of_device = next(call for call in writes if "data.mdb" in call.path)
    of_month = next(call for call in writes if b":secret:" in call.data)
    assert synced(calls, of_key.path, of_key, of_device)
    assert synced(calls, of_month.path, of_month, of_device)


def replaced(calls: list[Call], after: Call) -> tuple[Call, list[Call]]:
    """The next time that the file takes the place of the old one; and what was written of it."""
    rename = next(
        call
        for call in calls
        if call.name == "rename" and call.path.endswith(f"/{NAME}") and call.begun > after.ended
    )
    new = [
        call
        for call in calls
        if call.name in WRITES
        and call.path.endswith(f"/{NAME}.new")
        and after.ended < call.begun < rename.begun
    ]
    assert new
    return rename, new


def test_a_month_is_gone_for_good_before_the_next_is_used(calls: list[Call]) -> None:
    rename, new = replaced(calls, said(calls, "registered"))
    assert any(b":2026-02:" in call.data for call in new)
    assert all(b":2026-01:" not in call.data for call in new)
    assert synced(calls, f"/{NAME}.new", new[-1], rename)
    assert synced(calls, "/data", rename, said(calls, "advanced"))


def test_a_key_is_gone_for_good_before_that_is_said(calls: list[Call]) -> None:
    rename, new = replaced(calls, said(calls, "advanced"))
    assert all(DEVICE.encode() not in call.data for call in new)
    assert synced(calls, f"/{NAME}.new", new[-1], rename), "or the old file goes for nothing"
    assert synced(calls, "/data", rename, said(calls, "removed")), "or the old name comes back"
