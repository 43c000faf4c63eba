"""`tidelog purge`: take what was published out of the log, for good."""

from typing import Any

import click

from api.cli.asking import ask
from api.cli.options import app_option, ask_first, configured, confirmed
from api.cli.progress import elapsing
from api.config import Configuration


@click.group("purge")
def command() -> None:
    """Remove what was published so far: on a channel, by a client, or in a whole app.

    What is published later is not touched. Freed pages may still hold the bytes until `tidelog
    compact`; backups made before still hold the messages.

    \b
    Example:
      tidelog purge channel demo
    """


@command.command("channel")
@click.argument("channel")
@configured
@app_option
@confirmed
def purge_channel(configuration: Configuration, channel: str, app: str | None, yes: bool) -> None:
    """Remove every message of CHANNEL.

    \b
    Example:
      tidelog purge channel demo --yes
    """
    _purge(configuration, f"everything on channel {channel}", yes, app=app, channel=channel)


@command.command("client")
@click.argument("client_id")
@configured
@app_option
@confirmed
def purge_client(configuration: Configuration, client_id: str, app: str | None, yes: bool) -> None:
    """Remove every message that CLIENT_ID published, on any channel, and its devices.

    Those of all APIs: the devices of a user of Beams and the pushers of a Matrix user too.

    \b
    Example:
      tidelog purge client alice --yes
    """
    _purge(configuration, f"everything from {client_id}", yes, app=app, client_id=client_id)


@command.command("app")
@click.argument("app")
@configured
@confirmed
def purge_app(configuration: Configuration, app: str, yes: bool) -> None:
    """Remove every message of APP; its keys and namespaces stay.

    \b
    Example:
      tidelog purge app a1b2c3 --yes
    """
    _purge(configuration, f"everything in app {app}", yes, app=app)


def _purge(configuration: Configuration, what: str, yes: bool, **which: Any) -> None:
    ask_first(f"Remove {what}?", yes)
    with elapsing("purging"):
        ask(configuration, "purge", **which)
