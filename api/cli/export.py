"""`tidelog export`: the log as text."""

from typing import TextIO

import click

from api.cli.options import configured, existing
from api.cli.progress import counted
from api.config import Configuration
from broker import offline


@click.command("export")
@configured
@click.option(
    "--output",
    metavar="FILE",
    type=click.File("w", "utf-8", atomic=True),
    default="-",
    help="Where to write; whole or not at all.  [default: standard output]",
)
def command(configuration: Configuration, output: TextIO) -> None:
    """Write the whole log as NDJSON, one event per line, to standard output or --output FILE.

    Works beside a running broker. `tidelog import` makes the same log of it. It holds the keys.

    \b
    Examples:
      tidelog export --data ./data | gzip > log.ndjson.gz
      tidelog export --data ./data --output log.ndjson
    """
    data = existing(configuration)
    lines = counted(offline.export(data, configuration.broker.log), "export")
    output.writelines(f"{line}\n" for line in lines)
