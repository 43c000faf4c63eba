"""`tidelog rebuild`: every projection again, from the log."""

import click

from api.cli.asking import ask
from api.cli.options import configured
from api.cli.progress import elapsing
from api.config import Configuration


@click.command("rebuild")
@configured
def command(configuration: Configuration) -> None:
    """Fold every projection again from the log, beside live traffic, and swap in one commit.

    For when `tidelog verify` reports a projection. Killed in the middle, it changes nothing.

    \b
    Example:
      tidelog rebuild --data ./data
    """
    with elapsing("rebuilding"):
        ask(configuration, "rebuild")
    click.echo("rebuilt")
