"""The key file: what was promised is there, what was destroyed is not, whatever is cut off,
flipped, refused by a full disk, or killed on the way.
"""

import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage import Damaged, LogFull
from storage.keyfile import KEY_BYTES, NAME, KeyFile
from tests.storage.surgery import flip

MAGIC_BYTES = 8
SEED = int(os.environ.get("TIDELOG_SEED", random.randrange(1 << 32)))
KILLS = int(os.environ.get("TIDELOG_KILLS", "6"))

# Makes and destroys keys until it is killed, and says what it is about to do and what is done.
WORKER = """
import random, sys
from pathlib import Path
from storage.keyfile import KEY_BYTES, KeyFile
keys, choices = KeyFile(Path(sys.argv[1])), random.Random(int(sys.argv[2]))
for number in range(1_000_000):
    id_ = str(choices.randrange(8))
    if keys.get(id_) is None:
        key = choices.randbytes(KEY_BYTES)
        print("begin", id_, key.hex(), flush=True)
        keys.create({id_: key})
        print("end", id_, key.hex(), flush=True)
    else:
        print("begin", id_, "-", flush=True)
        keys.destroy({id_})
        print("end", id_, "-", flush=True)
"""


def key(number: int) -> bytes:
    return random.Random(number).randbytes(KEY_BYTES)


@contextmanager
def opened(path: Path) -> Iterator[KeyFile]:
    path.mkdir(exist_ok=True)
    keys = KeyFile(path)
    try:
        yield keys
    finally:
        keys.close()


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """No file grows past it: the last write that fits in part is short, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(path: Path) -> dict[str, bytes | None]:
    with opened(path) as keys:
        return {id_: keys.get(id_) for id_ in keys.ids()}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def of_three(path: Path) -> Path:
    """A directory with the keys 0, 1 and 2, created one by one."""
    with opened(path) as keys:
        for number in range(3):
            keys.create({str(number): key(number)})
    return path


THREE = {str(number): key(number) for number in range(3)}


def test_keys_are_there_when_it_is_opened_again(of_three: Path) -> None:
    assert contents(of_three) == THREE
    with opened(of_three) as keys:
        keys.create({"ä:\u6f22": key(3), "x" * 60_000: key(4)})
    assert contents(of_three) == {**THREE, "ä:\u6f22": key(3), "x" * 60_000: key(4)}


def test_nobody_else_may_read_it(of_three: Path) -> None:
    assert (of_three / NAME).stat().st_mode & 0o777 == 0o600
    with opened(of_three) as keys:
        keys.destroy({"1"})
    assert (of_three / NAME).stat().st_mode & 0o777 == 0o600


def test_a_destroyed_key_is_in_no_file(of_three: Path) -> None:
    with opened(of_three) as keys:
        keys.destroy({"1", "never there"})
        assert keys.get("1") is None
        keys.create({"3": key(3)})
    everything = b"".join(file.read_bytes() for file in of_three.iterdir())
    assert key(1) not in everything
    assert key(0) in everything
    assert contents(of_three) == {"0": key(0), "2": key(2), "3": key(3)}


def test_destroying_what_is_gone_writes_nothing(of_three: Path) -> None:
    with opened(of_three) as keys:
        before = (of_three / NAME).stat().st_ino
        keys.destroy({"other"})
        assert (of_three / NAME).stat().st_ino == before


def test_what_is_cut_off_at_the_end_was_never_promised(of_three: Path) -> None:
    whole = (of_three / NAME).read_bytes()
    record_bytes = (len(whole) - MAGIC_BYTES) // 3
    for length in range(len(whole)):
        (of_three / NAME).write_bytes(whole[:length])
        left = max(0, length - MAGIC_BYTES) // record_bytes
        assert contents(of_three) == dict(list(THREE.items())[:left]), length
        with opened(of_three) as keys:
            keys.create({"next": key(9)})
        assert len(contents(of_three)) == left + 1, length


def test_every_bit_of_what_others_follow_is_checked(of_three: Path) -> None:
    """Nothing behind it is lost silently, wherever the flip is: in a length, an id, a key."""
    whole = (of_three / NAME).read_bytes()
    last = len(whole) - (len(whole) - MAGIC_BYTES) // 3
    for at in range(last):
        for bit in range(8):
            (of_three / NAME).write_bytes(flip(whole, at, 1 << bit))
            with pytest.raises(Damaged, match="key file"):
                KeyFile(of_three)
    assert (of_three / NAME).read_bytes() == flip(whole, last - 1, 1 << 7), "it is left as it was"


def test_a_damaged_last_record_looks_like_one_cut_off(of_three: Path) -> None:
    whole = (of_three / NAME).read_bytes()
    (of_three / NAME).write_bytes(flip(whole, len(whole) - 1))
    assert contents(of_three) == {"0": key(0), "1": key(1)}


@pytest.mark.parametrize("content", [b"garbage" * 30, b"\0" * 100])
def test_another_file_is_refused(path: Path, content: bytes) -> None:
    path.mkdir()
    (path / NAME).write_bytes(content)
    with pytest.raises(Damaged, match="no key file"):
        KeyFile(path)
    assert (path / NAME).read_bytes() == content


def test_half_a_replacement_changes_nothing(of_three: Path) -> None:
    """A crash before the new file took the place of the old one."""
    whole = (of_three / NAME).read_bytes()
    for length in (0, 3, MAGIC_BYTES, len(whole) // 2):
        (of_three / f"{NAME}.new").write_bytes(whole[:length])
        assert contents(of_three) == THREE
    with opened(of_three) as keys:
        keys.destroy({"0"})
    assert contents(of_three) == {"1": key(1), "2": key(2)}


def test_a_key_that_found_no_room_damages_no_other(of_three: Path) -> None:
    size = (of_three / NAME).stat().st_size
    with opened(of_three) as keys:
        for room in (0, 1, 10, 38):
            with file_size_limit(size + room), pytest.raises(LogFull, match="key file"):
                keys.create({"3": key(3)})
            assert keys.get("3") is None, "it is not on disk"
        with file_size_limit(size + 300), pytest.raises(LogFull, match="key file"):
            keys.create({"x" * 500: key(3)})
        keys.create({"4": key(4)})
        assert (of_three / NAME).stat().st_size == size + 39, "nothing is left behind it"
    assert contents(of_three) == {**THREE, "4": key(4)}


def test_a_key_that_could_not_be_destroyed_is_still_known(of_three: Path) -> None:
    """So that whoever is to destroy it can be told, and can try again."""
    with opened(of_three) as keys:
        with file_size_limit(20), pytest.raises(LogFull, match="key file"):
            keys.destroy({"1"})
        assert keys.get("1") == key(1)
        keys.create({"3": key(3)})
        assert keys.ids() == {*THREE, "3"}
        keys.destroy({"1"})
    assert contents(of_three) == {"0": key(0), "2": key(2), "3": key(3)}


def test_a_change_is_one_step(of_three: Path) -> None:
    """What takes the place of another, what is new, and what goes: all of it, or nothing."""
    with opened(of_three) as keys:
        before = (of_three / NAME).stat().st_ino
        keys.change({"0": key(7), "3": key(3)}, {"1", "never there"})
        assert (of_three / NAME).stat().st_ino != before
        with file_size_limit(20), pytest.raises(LogFull, match="key file"):
            keys.change({"0": key(8)}, {"2"})
        assert (keys.get("0"), keys.get("2")) == (key(7), key(2))
    assert contents(of_three) == {"0": key(7), "2": key(2), "3": key(3)}
    everything = b"".join(file.read_bytes() for file in of_three.iterdir())
    assert key(0) not in everything
    assert key(1) not in everything


def test_no_more_files_are_held_open(of_three: Path) -> None:
    with opened(of_three) as keys:
        before = open_files()
        for _ in range(5):
            with file_size_limit(20), pytest.raises(LogFull, match="key file"):
                keys.destroy({"1"})
            keys.destroy({"2"})
            keys.create({"2": key(2)})
        assert open_files() == before


def killed_after(path: Path, seed: int, steps: int) -> list[list[str]]:
    """What a process said that was killed at some moment after so many steps."""
    command = [sys.executable, "-c", WORKER, str(path), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = [process.stdout.readline().split() for _ in range(steps)]
        process.kill()
        return said + [line.split() for line in process.stdout if line.endswith("\n")]


def test_a_killed_process_did_what_it_said(path: Path) -> None:
    print(f"TIDELOG_SEED={SEED}")
    choices = random.Random(SEED)
    path.mkdir()
    known: dict[str, str] = {}
    for _ in range(KILLS):
        said = killed_after(path, choices.randrange(1 << 32), choices.randint(2, 60))
        for moment, id_, value in said:
            if moment == "end":
                known[id_] = value
        known = {id_: value for id_, value in known.items() if value != "-"}
        found = {id_: (value or b"").hex() for id_, value in contents(path).items()}
        begun = [id_ for moment, id_, _ in said[-1:] if moment == "begin"]
        for id_ in begun:  # done or not, nobody was told
            assert found.get(id_) in (known.get(id_), said[-1][2], None)
        assert {i: v for i, v in found.items() if i not in begun} == {
            i: v for i, v in known.items() if i not in begun
        }
        known = found
