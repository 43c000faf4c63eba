"""`tidelog top`: what a running broker does, refreshed once a second."""

import io
import shutil
import sys
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio
from rich.console import Console

from api.cli.options import as_json, configured, existing
from api.cli.output import print_json
from api.config import Configuration
from api.top import watching
from api.top.figures import Answers, ChannelRates, channels, figures
from api.top.picture import Shown, Size, picture
from api.top.wishes import CONTAINS_CHARS_MAX, SORTS, Wishes


@click.command("top")
@configured
@click.option("--once", is_flag=True, help="Print one picture, without colours, and end.")
@click.option("--filter", "contains", metavar="TEXT", default="", help="Channels with it in name.")
@click.option(
    "--sort", type=click.Choice(list(SORTS)), default="out", show_default=True, help="By what."
)
@as_json
def command(
    configuration: Configuration, once: bool, contains: str, sort: str, as_json: bool
) -> None:
    """Show what a running broker does, refreshed once a second, until q is pressed.

    Connections, messages in and out, commits and how long they take, what waits, memory, disk, and
    the busiest channels. Keys: q quits, s sorts by the next column, / filters channels by name,
    Escape forgets the filter. NO_COLOR in the environment turns colours off.

    With --json: one JSON object per line and second, until Ctrl-C; with --once, one.

    \b
    Examples:
      tidelog top
      tidelog top --once --filter orders
      tidelog top --json | jq .figures.messagesOutPerSecond
    """
    existing(configuration)
    if len(contains) > CONTAINS_CHARS_MAX:
        raise click.UsageError(f"--filter takes at most {CONTAINS_CHARS_MAX} characters")
    wishes = Wishes(sort, contains)
    run = partial(_print, once=once, as_json=as_json) if once or as_json else _dashboard
    try:
        trio.run(run, configuration.data.absolute(), wishes)
    except* KeyboardInterrupt:
        pass  # how one ends it


async def _dashboard(data: Path, wishes: Wishes) -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("this is not a terminal: use --once or --json")
    await watching.dashboard(data, wishes)


async def _print(data: Path, wishes: Wishes, *, once: bool, as_json: bool) -> None:
    """From the second answer on: a rate is the difference of two."""
    async with aclosing(watching.answers(data, wishes)) as coming:
        async for found in coming:
            if found.before is None:
                continue
            if as_json:
                print_json(_document(found, wishes))
            else:
                _print_picture(data, found, wishes)
            if once:
                return


def _document(found: Answers, wishes: Wishes) -> dict[str, Any]:
    return {
        "time": found.now["time"],
        "seconds": found.seconds,
        "figures": figures(found),
        "channels": [_fields(row) for row in wishes.chosen(channels(found))],
        "channelsFound": found.now["found"],
        "metrics": found.now["metrics"],
    }


def _fields(row: ChannelRates) -> dict[str, Any]:
    return {
        "app": row.app,
        "channel": row.channel,
        "messagesInPerSecond": row.messages_in_per_second,
        "messagesOutPerSecond": row.messages_out_per_second,
        "attachments": row.attachments,
        "members": row.members,
    }


def _print_picture(data: Path, found: Answers, wishes: Wishes) -> None:
    size = shutil.get_terminal_size()
    console = Console(width=size.columns, color_system=None, file=io.StringIO())
    with console.capture() as captured:
        shown = Shown(str(data), found, None)
        console.print(picture(shown, wishes, Size(size.columns, size.lines), keys=False))
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
