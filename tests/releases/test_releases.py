"""What every release wrote opens, and is all there: over the APIs, after an export, in a backup.

tests/fixtures/release-… are such directories, each written by its own version with
`python -m tests.releases.write`, and never again.
"""

import shutil
from pathlib import Path
from typing import get_args

import msgspec
import pytest
import trio

from api.realtime.protocol import RESUMED, Action
from broker import offline
from broker.event import Event
from broker.events import AnyEvent
from storage import LogSettings
from tests.releases import write
from tests.releases.asking import Directory, Question, lacks, served
from tests.releases.write import ANSWERS, Release

FIXTURES = Path(__file__).parents[1] / "fixtures"
RELEASES = sorted(FIXTURES.glob("release-*"))
SETTINGS = LogSettings()


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def release(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def data(release: Path, tmp_path: Path) -> Path:
    """A copy of its directory."""
    return Path(shutil.copytree(release, tmp_path / "data"))


def known(path: Path) -> Release:
    return msgspec.json.decode((path / ANSWERS).read_bytes(), type=Release)


async def changed(directory: Directory, questions: list[Question]) -> list[str]:
    """What is answered otherwise than then."""
    found: list[str] = []
    for question in questions:
        status, answer = await directory.ask(question)
        where = f"{question.method} {question.path}"
        found += lacks([question.status, question.answer], [status, answer], where)
    return found


async def test_it_opens_answers_the_same_and_goes_on(data: Path) -> None:
    release = known(data)
    for n in range(2):  # brought up to date at the first open, so at the second
        async with served(data, release.now_ms + n) as directory:
            assert await changed(directory, release.questions) == []
            message = {"id": f"new-{n}:0", "name": "new"}
            published = Question("POST", "/channels/room/messages", release.auth, message)
            assert (await directory.ask(published))[0] == 201
    assert offline.verify(data, SETTINGS) == []


async def test_a_connection_of_then_is_resumed(data: Path) -> None:
    release = known(data)
    then = release.connection
    async with served(data, release.now_ms) as directory:
        client = await directory.connect(key=then["auth"], resume=then["key"])
        assert client.connected["connectionId"] == then["id"]
        channel = {"channel": then["channel"], "channelSerial": then["channelSerial"]}
        await client.says(Action.ATTACH, **channel)
        attached = await client.hears(Action.ATTACHED)
        assert attached["flags"] & RESUMED
        assert await client.names(then["channel"], len(then["names"])) == then["names"]


def test_it_is_verified_exported_and_backed_up_as_it_is(data: Path, tmp_path: Path) -> None:
    release = known(data)
    assert offline.verify(data, SETTINGS) == []
    beside = (write.VAPID_KEY_FILE,)
    manifest = offline.backup(data, tmp_path / "backup", SETTINGS, beside)
    assert offline.restore(tmp_path / "backup", tmp_path / "restored", SETTINGS) == manifest
    lines = [line for line, _ in offline.export(data, SETTINGS)]
    offline.import_lines(tmp_path / "imported", lines, SETTINGS)
    assert offline.fingerprint(tmp_path / "imported", SETTINGS).fingerprint == manifest.fingerprint

    async def ask(path: Path, questions: list[Question]) -> list[str]:
        async with served(path, release.now_ms) as directory:
            return await changed(directory, questions)

    assert trio.run(ask, tmp_path / "restored", release.questions) == []
    readable = [question for question in release.questions if not question.sealed]
    assert trio.run(ask, tmp_path / "imported", readable) == []
    assert len(readable) < len(release.questions)


def test_what_is_written_today_has_every_event(tmp_path: Path) -> None:
    """Or the next release would lack those that were added since the last one."""
    write.write(tmp_path / "data")
    release = known(tmp_path / "data")
    assert [question.path for question in release.questions if question.status >= 500] == []
    lines = [msgspec.json.decode(line) for line, _ in offline.export(tmp_path / "data", SETTINGS)]
    written = [line.get("event", {}) for line in lines]
    assert any("lost_behind" in event for event in written)
    found = {event.get("type") for event in written}
    events: tuple[type[Event], ...] = get_args(AnyEvent)
    tags = {event.__struct_config__.tag for event in events}
    assert tags - found == {"push.removed", "stats.removed"}  # gone with the app that they are of
