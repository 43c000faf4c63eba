"""`tidelog history`: what a channel's log holds."""

from typing import Any

import click
import trio

from api.cli.asking import session
from api.cli.options import app_option, as_json, configured
from api.cli.output import print_message
from api.config import Configuration

PAGE = 100


@click.command("history")
@click.argument("channel")
@configured
@app_option
@click.option("--limit", type=click.IntRange(1), default=PAGE, show_default=True, help="How many.")
@click.option("--all", "everything", is_flag=True, help="All messages, whatever --limit says.")
@click.option("--oldest-first", is_flag=True, help="From the first message on, not the last.")
@click.option("--start", type=click.IntRange(0), metavar="MS", help="Not before (Unix time in ms).")
@click.option("--end", type=click.IntRange(0), metavar="MS", help="Not after (Unix time in ms).")
@as_json
def command(
    configuration: Configuration,
    channel: str,
    app: str | None,
    limit: int,
    everything: bool,
    oldest_first: bool,
    start: int | None,
    end: int | None,
    as_json: bool,
) -> None:
    """Print a channel's messages, the newest first. With --json: one JSON object per line.

    \b
    Examples:
      tidelog history demo
      tidelog history orders --oldest-first --all --json | jq .data
    """
    query = {
        "channel": channel,
        "app": app,
        "direction": "forwards" if oldest_first else "backwards",
        "start": start or 0,
        "end": end,
    }
    trio.run(_print, configuration, query, None if everything else limit, as_json)


async def _print(
    configuration: Configuration, query: dict[str, Any], limit: int | None, as_json: bool
) -> None:
    """Page by page, so that any number of messages needs the memory of one page."""
    left = limit
    cursor = None
    async with session(configuration) as opened:
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            page = await opened.call("history", **query, limit=size, cursor=cursor)
            for message in page["messages"]:
                print_message(message, as_json)
            left = None if left is None else left - len(page["messages"])
            cursor = page["next"]
            if cursor is None:
                return
