"""A backup holds what its log held; restore and compact give the same log back, or refuse."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from storage import Cut, LogLocked, LogSettings, StorageError, open_log
from storage.copies import MANIFEST, Manifest, backup, compact, describe, fingerprint, restore
from storage.engine import DATA_FILE, Engine
from storage.keyfile import KEY_BYTES, KeyFile
from storage.verify import verify
from tests.storage.contract_base import NOTES_OF_C, POSTS_OF_C, everything, numbered, post, texts
from tests.storage.contract_tail import tailed
from tests.storage.ledger import NOTES, Post, ledger
from tests.storage.surgery import flip
from tests.storage.wall import Wall

ROOT = Path(__file__).parents[2]
SETTINGS = LogSettings()
_BACKUP = """
import sys
from pathlib import Path
from storage import LogSettings
from storage.copies import backup
backup(Path(sys.argv[1]), Path(sys.argv[2]), LogSettings())
"""
_READ = """
import sys
from pathlib import Path
from storage import LogSettings
from storage.engine import Engine
with Engine(Path(sys.argv[1]), LogSettings()).read():
    print("reading", flush=True)
    sys.stdin.read()
"""


async def _write(path: Path, wall: Wall) -> None:
    async with open_log(path, ledger(), wall=wall) as log:
        await log.submit_all([Post("c", t * 20, id=t) for t in numbered(300)], app="app")
        notes = await post(log, "secret", "plain", kind=NOTES)
        await log.redact(NOTES_OF_C, notes[-1], lambda event: event["text"] == "secret")
        await log.trim([Cut(POSTS_OF_C, sequence=250)])


@pytest.fixture(scope="module")
def _written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "log"
    trio.run(_write, path, Wall())
    return path


@pytest.fixture
def log(_written: Path, path: Path) -> Path:
    """A closed log with a snapshot, a redaction and free pages."""
    shutil.copytree(_written, path)
    return path


@pytest.fixture
def saved(log: Path) -> Path:
    """Its backup."""
    target = log.with_name("backup")
    backup(log, target, SETTINGS)
    return target


def intact(path: Path) -> bool:
    return verify(path, ledger(), SETTINGS, lambda *_: None) == []


@contextmanager
def reader_of(path: Path) -> Iterator[None]:
    """Another process that reads the log."""
    child = subprocess.Popen(
        [sys.executable, "-c", _READ, str(path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with child:
        assert child.stdout
        assert child.stdin
        assert child.stdout.readline() == b"reading\n"
        yield
        child.stdin.close()


class Killed(BaseException):
    """The process ends here."""


class Steps:
    """Counts what a copy does to the file system, and ends it before step number `fatal`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fatal: int) -> None:
        self.fatal = fatal
        self.names: list[str] = []
        for owner, name in (
            (Path, "rename"), (Path, "unlink"), (Path, "mkdir"), (Path, "rmdir"), (Path, "chmod"),
            (Path, "write_bytes"), (shutil, "rmtree"), (shutil, "copyfile"), (Engine, "copy"),
        ):  # fmt: skip
            monkeypatch.setattr(owner, name, self._counted(name, getattr(owner, name)))
        for name in ("probe", "sync_path"):
            path = f"storage.copies.{name}"
            original = getattr(sys.modules["storage.copies"], name)
            monkeypatch.setattr(path, self._counted(name, original))

    def _counted(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            self.names.append(name)
            if len(self.names) > self.fatal:
                raise Killed(name)
            return original(*args, **kwargs)

        return step


def killed_at(monkeypatch: pytest.MonkeyPatch, fatal: int, work: Callable[[], object]) -> str:
    """Do `work` up to step `fatal`; the step that was not done, "" when all were."""
    with monkeypatch.context() as patched:
        steps = Steps(patched, fatal)
        try:
            work()
        except Killed:
            return steps.names[-1]
    return ""


def test_a_restored_backup_is_the_same_log(log: Path, saved: Path) -> None:
    target = log.with_name("restored")
    restored = restore(saved, target, SETTINGS)
    assert restored == describe(log, SETTINGS)
    assert describe(target, SETTINGS) == restored
    assert intact(target)


async def test_a_restored_log_goes_on(log: Path, saved: Path, wall: Wall) -> None:
    target = log.with_name("restored")
    restore(saved, target, SETTINGS)
    async with open_log(target, ledger(), wall=wall) as copy:
        before = copy.position
        assert (await copy.submit(Post("c", "", id="text 299"), app="app")).duplicate
        assert (await post(copy, "next"))[0] > before
    assert intact(target)


async def test_backup_of_a_log_under_load(path: Path, wall: Wall) -> None:
    """A copy of one moment: what was there before it, nothing in part, nothing of what came."""
    target, restored = path.with_name("backup"), path.with_name("restored")
    async with open_log(path, ledger(), wall=wall) as log:
        await log.submit_all([Post("c", t, id=t) for t in numbered(200)], app="app")
        before = log.position

        async def publish(app: str) -> None:
            for number in range(1_000_000):
                await log.submit(Post("c", "x", id=f"{number}", app=app, count=3), app=app)

        async with trio.open_nursery() as nursery:
            for app in "abc":
                nursery.start_soon(publish, app)
            command = [sys.executable, "-c", _BACKUP, str(path), str(target)]
            await trio.run_process(command, cwd=ROOT)
            nursery.cancel_scope.cancel()
        manifest = restore(target, restored, SETTINGS)
        assert before <= manifest.position
        assert manifest.records % 3 == 200 % 3
        live = await tailed(log, 0, manifest.position)
    async with open_log(restored, ledger(), wall=wall) as copy:
        assert copy.position == manifest.position
        found = await tailed(copy, 0, manifest.position)
    assert found == [r for r in live if r.serial <= manifest.position]
    assert intact(restored)  # its projections are the fold of just these records
    assert intact(path)


async def test_backups_of_an_idle_log_are_equal(log: Path, saved: Path, wall: Wall) -> None:
    async with open_log(log, ledger(), wall=wall) as opened:
        await opened.rebuild()
        held = await opened.in_thread(fingerprint)
    assert held == Manifest(**json.loads((saved / MANIFEST).read_text())).fingerprint


@pytest.mark.parametrize("field", ["format", "position", "records", "fingerprint"])
def test_restore_refuses_what_the_manifest_does_not_promise(saved: Path, field: str) -> None:
    manifest = json.loads((saved / MANIFEST).read_text())
    manifest[field] = "0" if field == "fingerprint" else manifest[field] + 1
    (saved / MANIFEST).write_text(json.dumps(manifest))
    refused(saved, "manifest says")


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', '{"format": 1}', '{"position": "x"}'])
def test_restore_refuses_a_manifest_that_is_none(saved: Path, content: str) -> None:
    (saved / MANIFEST).write_text(content)
    refused(saved, "is not a manifest")


def refused(saved: Path, match: str | None = None) -> None:
    target = saved.with_name("restored")
    with pytest.raises(StorageError, match=match):
        restore(saved, target, SETTINGS)
    assert not target.exists()


def test_restore_refuses_without_its_files(saved: Path) -> None:
    (saved / DATA_FILE).unlink()
    refused(saved)
    (saved / MANIFEST).unlink()
    refused(saved, "is not a backup")


@pytest.mark.usefixtures("child_probe")
def test_restore_refuses_a_cut_backup(saved: Path) -> None:
    raw = (saved / DATA_FILE).read_bytes()
    (saved / DATA_FILE).write_bytes(raw[: len(raw) // 2])
    refused(saved)


def test_restore_refuses_a_flipped_record(log: Path, saved: Path) -> None:
    raw = (saved / DATA_FILE).read_bytes()
    random = Random(1)
    payloads = [at for at in range(0, len(raw), 97) if raw[at : at + 4] in b"text 2text 3text 4"]
    for at in random.sample(payloads, min(5, len(payloads))):
        (saved / DATA_FILE).write_bytes(flip(raw, at))
        refused(saved)


def test_targets_must_be_empty(log: Path, saved: Path) -> None:
    for work in (lambda: restore(saved, log, SETTINGS), lambda: backup(log, saved, SETTINGS)):
        with pytest.raises(StorageError, match="not empty"):
            work()


def test_a_backup_is_for_its_owner_only(saved: Path) -> None:
    assert saved.stat().st_mode & 0o777 == 0o700
    assert (saved / DATA_FILE).stat().st_mode & 0o777 == 0o600


def test_compact_gives_space_back(log: Path) -> None:
    held = describe(log, SETTINGS)
    size = (log / DATA_FILE).stat().st_size
    before, after = compact(log, SETTINGS)
    assert (before, after) == (size, (log / DATA_FILE).stat().st_size)
    assert after < before / 2
    assert describe(log, SETTINGS) == held
    assert (log / DATA_FILE).stat().st_mode & 0o777 == 0o600
    assert intact(log)


def test_compact_removes_the_redacted_bytes(log: Path) -> None:
    compact(log, SETTINGS)
    raw = (log / DATA_FILE).read_bytes()
    assert b"plain" in raw
    assert b"secret" not in raw
    assert b"text 248" not in raw  # 249 is the last that the snapshot tallies


async def test_a_compacted_log_goes_on(log: Path, wall: Wall) -> None:
    for number in range(3):
        compact(log, SETTINGS)
        async with open_log(log, ledger(), wall=wall) as opened:
            await post(opened, f"next {number}")
    async with open_log(log, ledger(), wall=wall) as opened:
        assert (await texts(opened))[-3:] == ["next 0", "next 1", "next 2"]
        assert len(await everything(opened)) == 53
    assert intact(log)


async def test_compact_refuses_a_log_in_use(log: Path, wall: Wall) -> None:
    async with open_log(log, ledger(), wall=wall):
        with pytest.raises(LogLocked):
            compact(log, SETTINGS)


async def test_compact_beside_a_reader(log: Path, wall: Wall) -> None:
    """A reader keeps LMDB's lock file, and with it the old transaction number, alive."""
    held = describe(log, SETTINGS)
    for _ in range(2):  # of both parities: LMDB takes the number's lowest bit for the meta page
        async with open_log(log, ledger(), wall=wall) as opened:
            await post(opened, "next")
        held = describe(log, SETTINGS)
        with reader_of(log):
            with pytest.raises(LogLocked, match="read by another process"):
                compact(log, SETTINGS)
            assert intact(log)
    compact(log, SETTINGS)
    assert describe(log, SETTINGS) == held


async def test_a_killed_compact_leaves_the_log(
    log: Path, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, fatal = describe(log, SETTINGS), 0
    while step := killed_at(monkeypatch, fatal, lambda: compact(log, SETTINGS)):
        assert describe(log, SETTINGS) == held, f"killed before {step}, number {fatal}"
        async with open_log(log, ledger(), wall=wall) as opened:
            assert opened.position == held.position, f"killed before {step}, number {fatal}"
        fatal += 1
    assert fatal > 8
    assert intact(log)


def test_a_killed_restore_is_whole_or_nothing(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, fatal = saved.with_name("restored"), 0
    held = Manifest(**json.loads((saved / MANIFEST).read_text()))
    while step := killed_at(monkeypatch, fatal, lambda: restore(saved, target, SETTINGS)):
        if target.exists() and any(target.iterdir()):
            assert describe(target, SETTINGS) == held, f"killed before {step}, number {fatal}"
            shutil.rmtree(target)
        fatal += 1
    assert fatal > 6
    assert describe(target, SETTINGS) == held


def test_a_killed_backup_is_no_backup(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fatal = 0
    target = log.with_name("backup")
    while step := killed_at(monkeypatch, fatal, lambda: backup(log, target, SETTINGS)):
        if (target / MANIFEST).exists():
            restore(target, log.with_name(f"restored {fatal}"), SETTINGS)
        else:
            refused(target, "is not a backup")
        shutil.rmtree(target, ignore_errors=True)
        assert step
        fatal += 1
    assert fatal > 3


def _with_files_beside(log: Path) -> Path:
    """A backup of a log with keys, and with another file that belongs to it."""
    keys = KeyFile(log)
    keys.create({"app:device": bytes(KEY_BYTES)})
    keys.close()
    (log / "identity.pem").write_text("a private key")
    target = log.with_name("backup")
    backup(log, target, SETTINGS, ["identity.pem", "absent.pem"])
    return target


def test_keys_and_what_else_belongs_to_a_log_go_with_it(log: Path) -> None:
    saved, target = _with_files_beside(log), log.with_name("restored")
    restore(saved, target, SETTINGS)
    assert (target / "identity.pem").read_text() == "a private key"
    assert not (target / "absent.pem").exists()
    for copy in (saved, target):
        assert {(copy / name).stat().st_mode & 0o777 for name in ("keys", "identity.pem")} == {
            0o600
        }
    keys = KeyFile(target)
    assert keys.get("app:device") == bytes(KEY_BYTES)
    keys.close()


def _flip_a_key(saved: Path) -> None:
    (saved / "keys").write_bytes(flip((saved / "keys").read_bytes(), 30))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda saved: (saved / "keys").unlink(), "is not whole: it has no keys"),
        (_flip_a_key, "does not hold what its manifest says"),
    ],
)
def test_restore_refuses_a_backup_without_its_keys(
    log: Path, damage: Callable[[Path], None], said: str
) -> None:
    saved, target = _with_files_beside(log), log.with_name("restored")
    damage(saved)
    with pytest.raises(StorageError, match=said):
        restore(saved, target, SETTINGS)
    assert not target.exists()


@pytest.mark.parametrize("name", ["../keys", MANIFEST, DATA_FILE])
def test_restore_takes_no_other_file_for_one_of_a_backup(saved: Path, name: str) -> None:
    manifest = json.loads((saved / MANIFEST).read_text())
    (saved / MANIFEST).write_text(json.dumps({**manifest, "beside": {name: "0"}}))
    with pytest.raises(StorageError, match="names a file that no backup has"):
        restore(saved, saved.with_name("restored"), SETTINGS)
