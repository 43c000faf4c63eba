"""Data directories that earlier versions wrote open, read the same, and go on.

tests/fixtures/format-1 was written by the first commit of this repository: 20 messages on one
channel, trimmed by five, with the projections rebuilt once, and a binary message on another.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import broker
from broker import offline
from storage import LogSettings

pytestmark = pytest.mark.usefixtures("child_probe")

FORMATS = sorted((Path(__file__).parents[1] / "fixtures").glob("format-*"))


@pytest.fixture(params=FORMATS, ids=lambda path: path.name)
def older(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Any]:
    """A copy of a fixture directory, and what it must hold."""
    shutil.copytree(request.param, tmp_path / "data")
    expected = json.loads((tmp_path / "data" / "expected.json").read_text())
    return tmp_path / "data", expected


async def test_an_older_directory_reads_the_same_and_goes_on(older: tuple[Path, Any]) -> None:
    path, expected = older
    for n in range(2):  # upgraded at the first open, current at the second
        async with broker.open(path) as b:
            keys = [key.string for key in b.apps.keys(expected["app"])]
            orders = b.channel("orders")
            page = await orders.history(limit=100, direction="forwards")
            found = [[m.id, m.serial, m.data] for m in page.messages]
            repeat = await orders.publish("created", {"n": 19}, id="order-19")
            trimmed = await orders.publish("created", {"n": 0}, id=f"order-{n}")
        assert keys == [expected["key"]]
        assert found[:15] == expected["orders"]
        assert (repeat.duplicate, repeat.serials) == (True, (expected["orders"][-1][1],))
        assert not trimmed.duplicate
    assert offline.verify(path, LogSettings()) == []


def test_an_older_directory_can_be_verified_and_backed_up_before_it_is_upgraded(
    older: tuple[Path, Any], tmp_path: Path
) -> None:
    path, _ = older
    assert offline.verify(path, LogSettings()) == []
    manifest = offline.backup(path, tmp_path / "backup", LogSettings())
    assert offline.restore(tmp_path / "backup", tmp_path / "restored", LogSettings()) == manifest
