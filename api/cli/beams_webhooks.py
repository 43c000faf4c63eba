"""`tidelog beams webhook`: the URLs that an instance of Beams tells what came of notifications."""

from typing import Any

import click
import msgspec

from api.cli.asking import ask
from api.cli.options import as_json, ask_first, configured, confirmed
from api.cli.output import print_json, print_table
from api.config import Configuration


@click.group("webhook")
def command() -> None:
    """Add, list and remove webhooks of an instance.

    \b
    Example:
      tidelog beams webhook list 8f9a6e22-2483-49aa-8552-125f1a4c5781
    """


def _object(ctx: click.Context, option: click.Parameter, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError) as error:
        raise click.BadParameter(f"not a JSON object: {error}") from None


@command.command("add")
@click.argument("instance")
@click.argument("url")
@configured
@click.option("--secret", metavar="TEXT", help="Requests are signed with it.  [default: random]")
@click.option(
    "--event", "events", multiple=True, metavar="TYPE", help="Of this only; may be repeated."
)
@click.option("--custom-data", callback=_object, metavar="JSON", help="An object sent each time.")
@as_json
def add_webhook(
    configuration: Configuration, instance: str, url: str, as_json: bool, **webhook: Any
) -> None:
    """Tell URL of the events of INSTANCE, and print the secret that requests are signed with.

    \b
    Example:
      tidelog beams webhook add 8f9a6e22-2483-49aa-8552-125f1a4c5781 \\
        https://example.com/beams --event v1.UserNotificationOpen
    """
    webhook["events"] = list(webhook["events"]) or None
    made = ask(configuration, "beams.webhooks.add", instance=instance, url=url, **webhook)
    if as_json:
        print_json(made)
    else:
        click.echo(f"webhook  {made['id']}\nsecret   {made['secret']}")


@command.command("list")
@click.argument("instance")
@configured
@as_json
def list_webhooks(configuration: Configuration, instance: str, as_json: bool) -> None:
    """List the webhooks of INSTANCE, with their secrets.

    \b
    Example:
      tidelog beams webhook list 8f9a6e22-2483-49aa-8552-125f1a4c5781 --json
    """
    found = ask(configuration, "beams.webhooks.list", instance=instance)
    if as_json:
        print_json(found)
        return
    rows = [(one["id"], one["url"], one["secret"], ", ".join(one["events"])) for one in found]
    print_table(("WEBHOOK", "URL", "SECRET", "EVENTS"), rows)


@command.command("remove")
@click.argument("instance")
@click.argument("webhook")
@configured
@confirmed
def remove_webhook(configuration: Configuration, instance: str, webhook: str, yes: bool) -> None:
    """Remove WEBHOOK of INSTANCE. What it has not been told yet, it still is.

    \b
    Example:
      tidelog beams webhook remove 8f9a6e22-2483-49aa-8552-125f1a4c5781 \\
        0b6c3f0e-8a55-4d5c-9e5c-7f1f3a1f2b11 --yes
    """
    ask_first(f"Remove webhook {webhook}?", yes)
    ask(configuration, "beams.webhooks.remove", instance=instance, webhook=webhook)
