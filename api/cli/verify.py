"""`tidelog verify`: is everything there, and as it was written?"""

import click

from api.cli.options import as_json, configured, existing
from api.cli.outcome import FAILED, FINE
from api.cli.output import print_json, visible
from api.cli.progress import Phases
from api.config import Configuration
from broker import offline


@click.command("verify")
@configured
@as_json
def command(configuration: Configuration, as_json: bool) -> int:
    """Check structure, records, chains and projections; exit 0 only if everything is intact.

    Runs beside a running broker too; then the structure of the file is left out. What is not
    intact is printed, a line each.

    \b
    Example:
      tidelog verify --data ./data && echo intact
    """
    data = existing(configuration)
    with Phases() as phases:
        findings = offline.verify(data, configuration.broker.log, phases.report)
    if as_json:
        print_json({"intact": not findings, "findings": findings})
    else:
        for finding in findings or ("intact",):
            click.echo(visible(finding))
    return FAILED if findings else FINE
