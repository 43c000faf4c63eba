"""Options that commands share, and the configuration that comes of them."""

import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import click

from api import config
from api.cli.outcome import Failure
from api.config import Configuration
from broker import offline

Function = Callable[..., Any]
DEFAULT = "default"

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
app_option = click.option("--app", metavar="APP", help="The app's id.  [default: the oldest app]")
confirmed = click.option("--yes", is_flag=True, help="Do not ask.")


def configured(function: Function) -> Function:
    """Adds --data and --config, and passes what they come to as `configuration`."""

    @click.option("--data", "directory", metavar="DIR", help="Data directory.  [default: ./data]")
    @click.option("--config", "settings_file", metavar="FILE", type=Path, help="Settings, in TOML.")
    @wraps(function)
    def command(directory: str | None, settings_file: Path | None, **options: Any) -> Any:
        flags = {"data": directory} if directory is not None else {}
        found = config.load(settings_file, environment=os.environ, flags=flags)
        return function(configuration=found, **options)

    return command


def bound(ctx: click.Context, option: click.Parameter, text: str | None) -> int | str | None:
    """A number, or `default` for what holds where nobody has set one."""
    if text is None or text == DEFAULT:
        return text
    if not (text.isascii() and text.isdigit()):
        raise click.BadParameter(f"{text!r} is neither a number nor {DEFAULT!r}")
    return int(text)


def given(options: Mapping[str, Any], usage: str) -> dict[str, Any]:
    """Those of several options that were given, None for `default`. Raises UsageError for none."""
    found = {name: value for name, value in options.items() if value is not None}
    if not found:
        raise click.UsageError(usage)
    return {name: None if value == DEFAULT else value for name, value in found.items()}


def limited(function: Function) -> Function:
    """Adds the options of what an app and a key may do in a second."""
    for name, what in (("requests", "HTTP"), ("bytes", "payload"), ("messages", "publishes")):
        text = f"So many {name} a second ({what}); 0 is no limit."
        option = click.option(f"--{name}-per-s", callback=bound, metavar="N", help=text)
        function = option(function)
    return function


def existing(configuration: Configuration) -> Path:
    """The data directory, which must hold a log: reading must not create one."""
    data = configuration.data.absolute()
    if not data.is_dir():
        raise Failure(f"there is no directory {data}; `tidelog serve --data DIR` makes one")
    if not offline.holds_log(data):
        raise Failure(f"{data} holds no Tidelog log; `tidelog serve --data DIR` makes one")
    return data


def ask_first(question: str, yes: bool) -> None:
    """Ask on a terminal; elsewhere --yes must have been given."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("this cannot be undone: give --yes")
    click.confirm(question, abort=True, err=True)
