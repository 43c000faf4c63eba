"""`tidelog push`: devices, and the notifications on their way to them."""

from typing import Any

import click

from api.cli.asking import ask
from api.cli.options import app_option, as_json, ask_first, configured, confirmed
from api.cli.output import instant, print_json, print_table
from api.config import Configuration


@click.group("push")
def command() -> None:
    """List and remove devices, send a notification, see what is on its way.

    \b
    Example:
      tidelog push outbox
    """


@command.command("devices")
@configured
@app_option
@click.option("--client-id", metavar="ID", help="Those of this client only.")
@click.option("--limit", default=100, show_default=True, help="How many at most.")
@as_json
def list_devices(
    configuration: Configuration,
    app: str | None,
    client_id: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List devices, and whether they are reached. Addresses are not shown.

    \b
    Example:
      tidelog push devices --client-id alice
    """
    devices = ask(configuration, "push.devices", app=app, client_id=client_id, limit=limit)
    if as_json:
        print_json(devices)
        return
    heads = ("DEVICE", "API", "PLATFORM", "TRANSPORT", "CLIENT", "STATE", "LAST ERROR")
    print_table(heads, [_device_row(device) for device in devices])


@command.command("remove")
@click.argument("device")
@configured
@app_option
@confirmed
def remove_device(configuration: Configuration, device: str, app: str | None, yes: bool) -> None:
    """Remove DEVICE and its subscriptions; its key is destroyed, so that nothing that was stored
    of it can be read.

    \b
    Example:
      tidelog push remove 01ARZ3NDEKTSV4RRFFQ69G5FAV --yes
    """
    ask_first(f"Remove device {device}?", yes)
    ask(configuration, "push.remove", device=device, app=app)


@command.command("send")
@click.argument("title")
@configured
@app_option
@click.option("--device", metavar="ID", help="To this device …")
@click.option("--client-id", metavar="ID", help="… or to this client's devices …")
@click.option("--channel", metavar="NAME", help="… or to the subscribers of this channel.")
@click.option("--body", default="", metavar="TEXT", help="What is shown below the title.")
def send(configuration: Configuration, title: str, **notice: Any) -> None:
    """Send a notification. It is on disk when this returns, and delivered while a broker runs.

    \b
    Example:
      tidelog push send "Lunch" --body "is ready" --client-id alice
    """
    ask(configuration, "push.send", title=title, **notice)


@command.command("outbox")
@configured
@as_json
def show_outbox(configuration: Configuration, as_json: bool) -> None:
    """Show what is not delivered to everybody yet, and which providers fail.

    \b
    Example:
      tidelog push outbox --json
    """
    status = ask(configuration, "push.status")
    if as_json:
        print_json(status)
        return
    heads = ("APP", "NOTIFICATION", "EXPIRES", "EXPANDING", "TO TRY AGAIN")
    print_table(heads, [_publish_row(one) for one in status["unfinished"]])
    for endpoint in status["openCircuits"]:
        click.echo(f"left alone for a while, for it fails: {endpoint}")


def _device_row(device: dict[str, Any]) -> tuple[object, ...]:
    error = device["error"] or {}
    return (
        device["id"],
        device["api"],
        device["platform"],
        device["transport"],
        device["clientId"] or "",
        device["state"],
        error.get("message", ""),
    )


def _publish_row(publish: dict[str, Any]) -> tuple[object, ...]:
    is_expanding = "yes" if publish["expanding"] else ""
    expires = instant(publish["expires"])
    return publish["app"], publish["serial"], expires, is_expanding, publish["waiting"]
