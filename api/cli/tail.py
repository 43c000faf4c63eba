"""`tidelog tail`: messages as they are published.

It needs a running broker: opened by itself, the directory would be in use, and nobody could
publish.
"""

import os
import stat
import sys
from contextlib import aclosing

import click
import trio

from api.admin.session import SocketSession, open_running
from api.cli.options import app_option, as_json, configured, existing
from api.cli.output import print_message
from api.config import Configuration


@click.command("tail")
@click.argument("channel")
@configured
@app_option
@click.option("--rewind", type=click.IntRange(0), default=0, help="Begin with the last N messages.")
@as_json
def command(
    configuration: Configuration, channel: str, app: str | None, rewind: int, as_json: bool
) -> None:
    """Print messages as they are published, until Ctrl-C. Needs a running broker.

    With --json: one JSON object per line.

    \b
    Examples:
      tidelog tail demo
      tidelog tail orders --rewind 10 --json | jq .data
    """
    existing(configuration)
    try:
        trio.run(_tail, configuration, channel, app, rewind, as_json)
    except* KeyboardInterrupt:
        pass  # how one ends it


async def _tail(
    configuration: Configuration, channel: str, app: str | None, rewind: int, as_json: bool
) -> None:
    async with (
        open_running(configuration.data.absolute()) as session,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_until_nobody_reads, nursery.cancel_scope)
        await _print(session, channel, app, rewind, as_json)
        nursery.cancel_scope.cancel()


async def _print(
    session: SocketSession, channel: str, app: str | None, rewind: int, as_json: bool
) -> None:
    messages = session.stream("tail", channel=channel, app=app, rewind=rewind)
    async with aclosing(messages):
        async for message in messages:
            if message is None:
                click.echo(f"tidelog: waiting for messages on {channel}", err=True)
            else:
                print_message(message, as_json)


async def _until_nobody_reads(scope: trio.CancelScope) -> None:
    """`| head` has seen enough: the writing end of a pipe is readable when its reader is gone."""
    if stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
        await trio.lowlevel.wait_readable(sys.stdout.fileno())
        scope.cancel()
