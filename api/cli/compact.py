"""`tidelog compact`: give space back."""

import click

from api.cli.options import as_json, configured, existing
from api.cli.output import amount, print_json
from api.cli.progress import growing, size_bytes
from api.config import Configuration
from broker import offline


@click.command("compact")
@configured
@as_json
def command(configuration: Configuration, as_json: bool) -> None:
    """Rewrite the log without its free pages, which may hold trimmed or purged bytes.

    No broker may run on the directory meanwhile, and the disk must have room for a second copy.

    \b
    Example:
      tidelog compact --data ./data
    """
    data = existing(configuration)
    with growing("compact", data, by_bytes=size_bytes(data)):
        before, after = offline.compact(data, configuration.broker.log)
    if as_json:
        print_json({"bytesBefore": before, "bytesAfter": after})
    else:
        click.echo(f"{amount(before)} before, {amount(after)} after")
