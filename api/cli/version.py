"""`tidelog version`."""

import platform

import click

from api.cli.options import as_json
from api.cli.output import print_json
from api.version import tidelog_version


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
