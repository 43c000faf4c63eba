"""Every command teaches itself: what it is for, an example, and each option; usage errors are 2."""

import ast
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from api.cli import COMMANDS, outcome, run
from api.cli import tidelog as root
from tests.api import command_line
from tests.api.command_line import inside, tidelog


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield (*path, name), found
        if isinstance(found, click.Group):
            yield from commands(found, *path, name)


EVERY = dict(commands(root))
IDS = [" ".join(path) for path in EVERY]


def test_the_commands_that_were_promised() -> None:
    promised = (
        "serve publish history tail apps keys namespaces verify backup restore export import"
        " rebuild compact config version"
    )
    assert set(promised.split()) <= set(COMMANDS)


@pytest.mark.parametrize("path", EVERY, ids=IDS)
def test_help_teaches(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == 0
    said = capsys.readouterr().out
    assert "Example" in said
    assert f"tidelog {' '.join(path)}" in said
    assert EVERY[path].get_short_help_str(), "no word in the list of commands"


@pytest.mark.parametrize("path", EVERY, ids=IDS)
def test_every_option_has_a_word_of_help_or_a_default(path: tuple[str, ...]) -> None:
    for option in EVERY[path].params:
        if isinstance(option, click.Option):
            assert option.help or option.show_default, option.name


@pytest.mark.parametrize("path", EVERY, ids=IDS)
def test_an_unknown_option_is_a_usage_error(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*path, "--no-such-option"]) == outcome.USAGE
    captured = capsys.readouterr()
    assert (captured.out, "no-such-option" in captured.err) == ("", True)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["keys", "list", "--help"]])
def test_help_of_the_real_command(arguments: list[str]) -> None:
    ended = command_line.fine(*arguments)
    assert ended.out.startswith("Usage: tidelog")


def test_version() -> None:
    assert tidelog("version").out.startswith("tidelog ")
    assert set(inside("version", "--json").json) == {"tidelog", "python"}


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["keys"], ["keys", "nonsense"], ["publish"]]
)
def test_usage_errors_of_the_real_command(arguments: list[str]) -> None:
    ended = tidelog(*arguments)
    assert (ended.status, ended.out) == (outcome.USAGE, "")
    assert "Usage: tidelog" in ended.err


def test_a_server_does_not_load_what_only_the_dashboard_needs() -> None:
    """Nor httpx's own command line, which would load it."""
    code = (
        "import sys, api.cli.serve, api.server; print({n.partition('.')[0] for n in sys.modules})"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env=command_line.environment(),
        timeout=command_line.WITHIN_S,
        check=True,
    )
    loaded = ast.literal_eval(ended.stdout)
    assert {"httpx", "quart"} <= loaded
    assert not {"rich", "pygments"} & loaded
