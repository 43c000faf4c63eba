"""`tidelog audit`: what administrators did."""

from typing import Any

import click
import trio

from api.cli.asking import session
from api.cli.options import as_json, configured
from api.cli.output import instant, print_json, visible
from api.config import Configuration

PAGE = 100


@click.command("audit")
@configured
@click.option("--limit", type=click.IntRange(1), default=PAGE, show_default=True, help="How many.")
@click.option("--all", "everything", is_flag=True, help="All of it, whatever --limit says.")
@as_json
def command(configuration: Configuration, limit: int, everything: bool, as_json: bool) -> None:
    """Print who changed what over the admin socket, or with a command on the directory itself, the
    newest first. With --json: one JSON object per line, when it was asked for and when it was over.

    \b
    Examples:
      tidelog audit
      tidelog audit --all --json | jq 'select(.operation == "keys.revoke")'
    """
    trio.run(_print, configuration, None if everything else limit, as_json)


async def _print(configuration: Configuration, limit: int | None, as_json: bool) -> None:
    left, cursor = limit, None
    over: set[str] = set()  # of which it is not news that they were asked for
    async with session(configuration) as opened:
        while left is None or left > 0:
            page = await opened.call("audit", limit=PAGE, cursor=cursor)
            for action in page["actions"]:
                if not as_json and action["phase"] == "asked" and action["action"] in over:
                    over.discard(action["action"])
                    continue
                if left == 0:
                    return
                over.add(action["action"])
                print_json(action) if as_json else click.echo(visible(_line(action)))
                left = None if left is None else left - 1
            cursor = page["next"]
            if cursor is None:
                return


def _line(action: dict[str, Any]) -> str:
    who = "somebody" if action["uid"] is None else f"uid {action['uid']}"
    told = [f"{name}={text}" for name, text in action["arguments"].items()]
    made = [f"-> {action['made']}"] if action["made"] else []
    came = f"failed ({action['code']})" if action["code"] else action["phase"]
    return "  ".join((instant(action["time"]), who, action["operation"], *told, *made, came))
