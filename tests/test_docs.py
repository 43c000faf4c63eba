"""The documents name what exists: files, headings, commands, projections, and code that parses."""

import ast
import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest

from api.cli import COMMANDS, tidelog
from broker.domain import broker_domain
from tests.documents import MARKDOWN, ROOT

_PATH = re.compile(r"`((?:\.ci|api|bench|broker|docs|storage|tests)/[\w./*-]*)`")
_LINK = re.compile(r"\]\(([^)\s:]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_CODE = re.compile(r"```sh\n(.*?)```|`([^`\n]+)`", re.DOTALL)
_COMMAND = re.compile(r"tidelog ([a-z]+)(?: ([a-z]+))?")
_PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("name", MARKDOWN)
def test_every_file_that_is_named_exists(name: str) -> None:
    named = _PATH.findall((ROOT / name).read_text())
    assert [path for path in named if not list(ROOT.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("name", MARKDOWN)
def test_every_link_leads_somewhere(name: str) -> None:
    for link in _LINK.findall((ROOT / name).read_text()):
        path, _, heading = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        assert not heading or heading in _anchors(target), link


def test_the_index_leads_to_every_page() -> None:
    index = set(_LINK.findall((ROOT / "docs/README.md").read_text()))
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages - index == set()


def _anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = _HEADING.findall(document.read_text())
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", MARKDOWN)
def test_every_command_that_is_named_exists(name: str) -> None:
    for block, span in _CODE.findall((ROOT / name).read_text()):
        for command, following in _COMMAND.findall(block or span):
            assert command in COMMANDS, command
            context = click.Context(tidelog)
            found = tidelog.get_command(context, command)
            if isinstance(found, click.Group) and following:
                assert found.get_command(context, following), f"{command} {following}"


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").glob("*.svg")), ids=lambda one: one.name)
def test_a_picture_says_in_words_what_it_shows_and_has_dark_colours(picture: Path) -> None:
    root = ElementTree.parse(picture).getroot()
    words = [root.findtext(f"{{http://www.w3.org/2000/svg}}{name}") for name in ("title", "desc")]
    assert all(words)
    assert "prefers-color-scheme: dark" in picture.read_text()


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
    optional = declared["optional-dependencies"]
    wanted = [*declared["dependencies"], *optional["test"], *optional["bench"]]
    reasons = {line.split('"')[1]: line.partition("#")[2].strip() for line in lines if '",' in line}
    assert [name for name in wanted if not reasons.get(name)] == []
