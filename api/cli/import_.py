"""`tidelog import`: a log from its text."""

import os
import stat
from collections.abc import Iterator
from typing import TextIO

import click

from api.cli.options import configured
from api.cli.progress import Phases
from api.config import Configuration
from broker import offline


@click.command("import")
@click.argument("file", type=click.File("r", "utf-8"))
@configured
def command(configuration: Configuration, file: TextIO) -> None:
    """Make a data directory from FILE, written by `tidelog export`; `-` is standard input.

    The log will be the same: serials, hashes, keys. The directory must hold no log yet, and no
    broker may run on it.

    \b
    Examples:
      tidelog import log.ndjson --data ./copy
      gunzip -c log.ndjson.gz | tidelog import - --data ./copy
    """
    data = configuration.data.absolute()
    offline.import_lines(data, _lines(file), configuration.broker.log)
    click.echo(f"imported into {data}")


def _lines(file: TextIO) -> Iterator[str]:
    """The lines; how far we are is told by bytes, where the file has a size."""
    status = os.fstat(file.fileno())
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    done = 0
    with Phases() as phases:
        for line in file:
            yield line
            done += len(line.encode())
            phases.report("import", done, size)
