"""`tidelog backup`: a copy of the log, the broker running or not."""

from pathlib import Path

import click
import msgspec

from api.cli.options import as_json, configured, existing
from api.cli.output import print_json
from api.cli.progress import growing, size_bytes
from api.config import Configuration
from api.push.vapid import KEY_FILE
from broker import offline


@click.command("backup")
@click.argument("target", type=Path)
@configured
@as_json
def command(configuration: Configuration, target: Path, as_json: bool) -> None:
    """Copy the log into the new directory TARGET, with a manifest that says what it holds.

    Safe while the broker runs: the copy is one moment of the log. It holds the keys, so it is as
    secret as they are; those of devices and browsers too.

    \b
    Example:
      tidelog backup /backups/tidelog-$(date +%F) --data ./data
    """
    data, target = existing(configuration), target.absolute()
    with growing("backup", target, by_bytes=size_bytes(data)):
        manifest = offline.backup(data, target, configuration.broker.log, [KEY_FILE])
    if as_json:
        print_json({"target": str(target), **msgspec.structs.asdict(manifest)})
    else:
        click.echo(f"{manifest.records} records up to serial {manifest.position} in {target}")
