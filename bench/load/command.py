"""`tidelog bench`, as far as `tidelog --help` needs it: the commands themselves, and with them what
only the load generator needs, are imported when one of them is asked for."""

import importlib
from typing import Any

import click

from api.cli.outcome import Failure

_OURS = ("api", "bench", "broker", "storage")
COMMANDS = ("list", "run", "search", "compare", "soak")


class _Commands(click.Group):
    """Finds a command in `bench.load.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        try:
            commands: Any = importlib.import_module("bench.load.commands")
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing in _OURS:
                raise
            raise Failure(f"it needs {missing}: pip install 'tidelog[bench]'") from error
        found: click.Command = commands.BY_NAME[cmd_name]
        return found


@click.group("bench", cls=_Commands)
def command() -> None:
    """Measure a broker under load, and check that what it did was right.

    \b
    Examples:
      tidelog bench list
      tidelog bench run fanout --subscribers 500 --rate 20
      tidelog bench run publish --url https://broker.example:8443 --key "$KEY"
      tidelog bench search publish --p99 20
      tidelog bench compare
      tidelog bench soak --minutes 30

    docs/bench.md says what the columns mean, and what they do not say.
    """
