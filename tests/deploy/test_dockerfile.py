"""The Dockerfile, without Docker: its lines are read, and its commands run where it would run them,
below a directory of the test's instead of /.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.api.command_line import ROOT, Serving, environment

DOCKERFILE = ROOT / "Dockerfile"
OWNER = "10001"
OURS = re.compile(r"(?<![\w/.-])/(opt/tidelog|data)\b")


class Line(NamedTuple):
    instruction: str
    rest: str


def stages() -> list[list[Line]]:
    found: list[list[Line]] = []
    for text in DOCKERFILE.read_text().replace("\\\n", " ").splitlines():
        if not text or text.startswith("#"):
            continue
        line = Line(*text.split(" ", 1))
        if line.instruction == "FROM":
            found.append([])
        found[-1].append(line)
    return found


def of(stage: list[Line], instruction: str) -> list[str]:
    return [line.rest for line in stage if line.instruction == instruction]


def below(root: Path, text: str) -> str:
    """The same with our paths below `root`, and us as the owner."""
    return OURS.sub(rf"{root}/\1", text).replace(OWNER, str(os.getuid()))


def variables(root: Path, stage: list[Line]) -> dict[str, str]:
    given = dict(rest.split("=", 1) for rest in of(stage, "ENV"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {name: below(root, text).replace("$PATH", path) for name, text in given.items()}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both stages leave."""
    root, source = tmp_path_factory.mktemp("image"), tmp_path_factory.mktemp("src")
    (root / "opt").mkdir()
    build, final = stages()
    for copied in of(build, "COPY"):
        *names, target = copied.split()
        for name in names:
            _copy(ROOT / name, source / target / name if target == "./" else source / target)
    for stage, where in ((build, source), (final, root)):
        plain = {k: v for k, v in environment().items() if k != "PYTHONPATH"}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        for command in of(stage, "RUN"):
            line = below(root, command)
            subprocess.run(line, shell=True, cwd=where, env={**plain, "PATH": path}, check=True)
    return root


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def test_what_is_copied_is_what_is_packaged() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())
    built = packages["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = [name for rest in of(stages()[0], "COPY") for name in rest.split()[:-1]]
    assert {*copied} == {*built, "pyproject.toml", packages["project"]["readme"]}
    taken = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    assert taken == {*copied}


def test_it_does_not_run_as_root() -> None:
    (user,) = of(stages()[-1], "USER")
    assert user == f"{OWNER}:{OWNER}"


def test_the_image_serves_is_healthy_and_stops(image: Path) -> None:
    final = stages()[-1]
    (command,), (health,) = of(final, "CMD"), of(final, "HEALTHCHECK")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    plain = {name: text for name, text in environment().items() if name != "PYTHONPATH"}
    env = {**plain, **variables(image, final), "TIDELOG_SERVER_PORT": port}
    words = json.loads(command)
    words[0] = str(shutil.which(words[0], path=env["PATH"]))
    assert words[0].startswith(str(image))
    check = json.loads(health.partition("CMD ")[2])
    assert subprocess.run(check, env=env, cwd=image, capture_output=True).returncode != 0
    log = image / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=errors, text=True, env=env, cwd=image
        ) as process,
    ):
        try:
            served = Serving(process, image / "data", log)
            assert served.port == int(port)
            assert (image / "data").stat().st_mode & 0o777 == 0o700
            assert subprocess.run(check, env=env, cwd=image).returncode == 0
            assert httpx.get(f"http://127.0.0.2:{port}/time").is_success  # every interface
            operate = shlex.split("tidelog apps list --json")
            operate[0] = words[0]
            listed = subprocess.run(operate, env=env, cwd=image, capture_output=True, check=True)
            assert len(json.loads(listed.stdout)) == 1
            assert served.stop() == 0, log.read_text()
        finally:
            process.kill()
