"""Options that commands share, and the configuration that comes of them."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from api import config
from api.cli.outcome import Failure
from api.config import Configuration
from broker import offline

Function = Callable[..., Any]

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
