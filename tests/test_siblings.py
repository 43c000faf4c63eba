"""A stranger's file of the name of one of our packages is named, with ours, by whoever meets it.

Each test runs a program of a directory with that file in an interpreter of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT

OPENS = """
import sys
import trio
import broker

async def main():
    for _ in range(2):  # what is there already is checked by a process of our own
        async with broker.open(sys.argv[1]) as b:
            await b.channel("c").publish("n", "d")

trio.run(main)
"""


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def stranger(directory: Path, name: str) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine = True\n")
    return path


@pytest.mark.parametrize(
    ("file", "imported"),
    [
        ("storage.py", "broker"),
        ("storage/__init__.py", "broker"),
        ("storage.py", "api.cli"),
        ("broker.py", "api"),
        ("broker/__init__.py", "api.cli"),
        ("api.py", "bench"),
        ("storage.py", "bench"),
    ],
)
def test_an_import_names_the_stranger_and_ours(tmp_path: Path, file: str, imported: str) -> None:
    path = stranger(tmp_path, file)
    name = file.removesuffix(".py").partition("/")[0]
    done = run(tmp_path, "-c", f"import {imported}")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert "ShadowedPackage" in last
    assert str(path) in last
    assert str(ROOT / name / "__init__.py") in last


def test_it_is_an_import_error_that_tells_both_files(tmp_path: Path) -> None:
    path = stranger(tmp_path, "storage.py")
    code = "try:\n import broker\nexcept ImportError as e:\n print(e.name, e.path, e.shadowed)"
    ours = ROOT / "storage" / "__init__.py"
    assert run(tmp_path, "-c", code).stdout == f"storage {path} {ours}\n"


def test_a_stranger_that_is_imported_already_is_met_too(tmp_path: Path) -> None:
    path = stranger(tmp_path / "elsewhere", "storage.py")
    code = f"import sys\nsys.path.insert(0, {str(path.parent)!r})\nimport storage\n"
    code += "sys.path.pop(0)\nimport broker"
    assert str(path) in run(tmp_path, "-c", code).stderr.splitlines()[-1]


def test_what_is_not_imported_may_be_a_stranger_s(tmp_path: Path) -> None:
    """Many a program has a package `api`."""
    stranger(tmp_path, "api/__init__.py")
    stranger(tmp_path, "bench.py")
    code = "import broker, api\nprint(api.mine)"
    assert run(tmp_path, "-c", code).stdout == "True\n"


def test_a_directory_that_is_no_package_shadows_nothing(tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    assert run(tmp_path, "-c", "import broker, api.cli, bench").stderr == ""


def test_a_broker_opens_where_a_stranger_lies_about_the_working_directory(tmp_path: Path) -> None:
    stranger(tmp_path, "storage.py")
    program = tmp_path / "elsewhere" / "program.py"
    program.parent.mkdir()
    program.write_text(OPENS)
    done = run(tmp_path, str(program), str(tmp_path / "data"))
    assert (done.returncode, done.stderr) == (0, "")


def test_every_package_that_imports_another_has_the_same_check() -> None:
    files = {(ROOT / name / "siblings.py").read_text() for name in ("broker", "api", "bench")}
    assert len(files) == 1
