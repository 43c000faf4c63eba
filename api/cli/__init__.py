"""The command `tidelog`: one file per command or group of commands.

Commands say what they do on standard output, and what went wrong on standard error. Exit status: 0
fine, 1 failed, 2 the command line or the configuration is wrong (`api.cli.outcome` maps every
exception, once). A command's module is imported when it is needed.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

# httpx loads a command line of its own where rich is installed, and goes on where it cannot. This
# process has another one: it starts sooner, and a server is smaller by 4 MB.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

from api import structured_logging  # noqa: E402
from api.cli import outcome  # noqa: E402

COMMANDS = (
    "serve",
    "publish",
    "history",
    "tail",
    "apps",
    "keys",
    "namespaces",
    "push",
    "beams",
    "matrix",
    "purge",
    "verify",
    "backup",
    "restore",
    "export",
    "import",
    "rebuild",
    "compact",
    "top",
    "audit",
    "bench",
    "config",
    "version",
)
_MODULES = {
    "import": "api.cli.import_",
    "config": "api.cli.configuration",
    "bench": "bench.load.command",
}


class _Commands(click.Group):
    """Finds a command in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(_MODULES.get(cmd_name, f"api.cli.{cmd_name}"))
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would take it for a failure, and exit
            raise outcome.NobodyReads from error


def _print_reference(ctx: click.Context, option: click.Parameter, is_given: bool) -> None:
    if is_given:
        from api.cli.reference import reference

        click.echo(reference(tidelog), nl=False)
        ctx.exit()


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--reference",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_reference,
    help="Print all commands and options, as Markdown.",
)
def tidelog() -> None:
    """A message broker that Ably's SDKs already speak to, on one fsynced log.

    \b
    Start here:
      tidelog serve --data ./data            a broker, an app and a key
      tidelog publish demo hello             beside it, or with no broker running
      tidelog history demo
    \b
    Every command but `version` reads --config FILE (TOML) and TIDELOG_ variables;
    `tidelog config` prints all settings.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit status."""
    structured_logging.configure("error")
    if not __debug__:
        click.echo(
            "tidelog: python -O drops the checks that guard the log: run without it", err=True
        )
        return outcome.FAILED
    try:
        status = tidelog.main(list(arguments), prog_name="tidelog", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:
        return outcome.of(error)
    return status if isinstance(status, int) else outcome.FINE


def main() -> None:
    sys.exit(run(sys.argv[1:]))
