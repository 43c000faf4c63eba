"""`tidelog version`."""

import platform
from importlib.metadata import PackageNotFoundError, version

import click

from api.cli.options import as_json
from api.cli.output import print_json


@click.command("version")
@as_json
def command(as_json: bool) -> None:
    """Print the version.

    \b
    Example:
      tidelog version --json
    """
    if as_json:
        print_json({"tidelog": tidelog_version(), "python": platform.python_version()})
    else:
        click.echo(f"tidelog {tidelog_version()}")


def tidelog_version() -> str:
    """The installed distribution's version."""
    try:
        return version("tidelog")
    except PackageNotFoundError:  # run from a source tree
        return "unreleased"
