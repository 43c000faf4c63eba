"""docs/cli.md is what the commands say of themselves, and the examples in it are command lines."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from api.cli import tidelog as root
from tests.api.command_line import inside
from tests.api.test_cli_help import EVERY
from tests.documents import ROOT

WRITTEN = (ROOT / "docs" / "cli.md").read_text()
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
SECTION = re.compile(r"^## `(tidelog[^`]*)`$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `(--[^`]*)` \|", re.MULTILINE)
OURS = re.compile(r"tidelog (.*?)(?: [|>&]+ .*|\)?$)")
"""What one command of a line is given."""


def test_the_reference_is_what_the_commands_say() -> None:
    """`tidelog --reference > docs/cli.md` makes it so."""
    assert inside("--reference").out == WRITTEN


def test_every_command_and_every_option_is_in_it() -> None:
    sections = dict(SECTION.findall(WRITTEN))
    every = {
        "tidelog": root,
        **{f"tidelog {' '.join(path)}": found for path, found in EVERY.items()},
    }
    assert list(sections) == list(every)
    for path, command in every.items():
        options = {
            flag
            for option in command.params
            if isinstance(option, click.Option)
            for flag in (*option.opts, *option.secondary_opts)
        }
        rows = ROW.findall(sections[path])
        assert {flag for row in rows for flag in re.findall(r"--[\w-]+", row)} == options, path


def examples() -> Iterator[str]:
    for block in BLOCK.findall(WRITTEN):
        yield from block.replace("\\\n", " ").replace("$(date +%F)", "now").split("\n")[:-1]


def test_every_example_is_a_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command is there, and takes these arguments; it is not carried out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.ndjson").touch()
    for line in examples():
        found = OURS.search(line)
        assert found is not None, line
        parsed(root, shlex.split(found[1]))


def parsed(command: click.Command, words: list[str]) -> None:
    """Raises what click says of words that do not fit."""
    with command.make_context("tidelog", list(words)) as context:
        if isinstance(command, click.Group):
            left = [*context._protected_args, *context.args]
            _, found, rest = command.resolve_command(context, left)
            assert found is not None
            parsed(found, rest)


def test_an_example_that_is_none_is_noticed() -> None:
    with pytest.raises(click.UsageError):
        parsed(root, ["keys", "list", "--no-such-option"])
    with pytest.raises(click.UsageError):
        parsed(root, ["keys", "lists"])
