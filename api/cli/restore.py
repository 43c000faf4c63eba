"""`tidelog restore`: a data directory from a backup."""

from pathlib import Path

import click
import msgspec

from api.cli.options import as_json, configured
from api.cli.outcome import Failure
from api.cli.output import print_json
from api.cli.progress import elapsing
from api.config import Configuration
from broker import offline


@click.command("restore")
@click.argument("source", type=Path)
@configured
@as_json
def command(configuration: Configuration, source: Path, as_json: bool) -> None:
    """Make the backup SOURCE the data directory, which must be empty or absent.

    The backup is checked against its manifest first; a damaged one is refused. What was done after
    the backup is gone, revocations and purges too; clients that saw messages of that time are told
    so on their channels when they come back.

    \b
    Example:
      tidelog restore /backups/tidelog-2026-01-31 --data ./data
    """
    data, source = configuration.data.absolute(), source.absolute()
    if not source.is_dir():
        raise Failure(f"there is no backup {source}")
    with elapsing("restoring"):
        manifest = offline.restore(source, data, configuration.broker.log)
    if as_json:
        print_json({"data": str(data), **msgspec.structs.asdict(manifest)})
    else:
        click.echo(f"{manifest.records} records up to serial {manifest.position} in {data}")
