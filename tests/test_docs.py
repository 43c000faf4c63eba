"""The documents name what exists: files, commands, projections, and code that parses."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from api.cli import COMMANDS
from broker.domain import broker_domain

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "storage/README.md",
    "docs/realtime.md",
    "docs/rest.md",
    "docs/push.md",
    "docs/matrix.md",
    "docs/beams.md",
    "docs/embedding.md",
    "docs/settings.md",
    "docs/metrics.md",
    "docs/workers.md",
)
_PATH = re.compile(r"`((?:\.ci|api|bench|broker|storage|tests)/[\w./*-]*)`|\]\(([\w./-]+)\)")
_COMMAND = re.compile(r"tidelog ([a-z]+)")
_PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_that_is_named_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    named = {match[1] or match[2] for match in _PATH.finditer(text)}
    missing = [path for path in named if not list(ROOT.glob(path.rstrip("/")))]
    assert not missing


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_that_is_named_exists(name: str) -> None:
    named = set(_COMMAND.findall((ROOT / name).read_text()))
    assert named <= set(COMMANDS)


def test_the_changelog_names_every_command() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert [command for command in COMMANDS if command not in text] == []


def test_the_table_of_projections_is_that_of_the_code() -> None:
    text = (ROOT / "storage/README.md").read_text()
    table = text.partition("## Projections")[2].partition("\n## ")[0]
    listed = set(re.findall(r"\| `(\w+)` \|", table))
    assert listed == {projection.name for projection in broker_domain().projections}


def test_the_readme_s_python_parses() -> None:
    snippets = _PYTHON.findall((ROOT / "README.md").read_text())
    assert snippets
    for snippet in snippets:
        compile(snippet, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_dependency_says_why_it_is_there() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    declared = tomllib.loads("\n".join(lines))["project"]
    wanted = [*declared["dependencies"], *declared["optional-dependencies"]["test"]]
    reasons = {line.split('"')[1]: line.partition("#")[2].strip() for line in lines if '",' in line}
    assert [name for name in wanted if not reasons.get(name)] == []
