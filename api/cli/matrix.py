"""`tidelog matrix`: what Matrix pushers may subscribe to and must encrypt, and tokens of users."""

from typing import Any

import click

from api.admin.operations.matrix import TOKEN_TTL_S
from api.cli.asking import ask
from api.cli.options import app_option, as_json, configured
from api.cli.output import print_json, print_table, visible
from api.config import Configuration
from broker.matrix.rules import ENCRYPTION, STATUSES

DEFAULT = "default"
NEW_CHANNEL = "disabled"


@click.group("matrix")
def command() -> None:
    """Set up Matrix pushers: their channels, their encryption, and tokens of their users.

    \b
    Example:
      tidelog matrix channels set erp.task.accept erp.communication.new=enabled
    """


@command.command("show")
@configured
@app_option
@as_json
def show(configuration: Configuration, app: str | None, as_json: bool) -> None:
    """Show what is set: channels, and encryption.

    \b
    Example:
      tidelog matrix show --json
    """
    rules = ask(configuration, "matrix.show", app=app)
    if as_json:
        print_json(rules)
        return
    _print_channels(rules)
    _print_encryption(rules)


@command.command("token")
@click.argument("user")
@configured
@app_option
@click.option(
    "--ttl", default=TOKEN_TTL_S, show_default=True, metavar="S", help="Seconds that it works for."
)
@as_json
def token(
    configuration: Configuration, user: str, app: str | None, ttl: int, as_json: bool
) -> None:
    """Print an access token of USER: whoever has it is that client, and may have pushers.

    \b
    Example:
      TOKEN=$(tidelog matrix token @alice:example.org)
    """
    issued = ask(configuration, "matrix.token", user=user, app=app, ttl_s=ttl)
    if as_json:
        print_json(issued)
    else:
        click.echo(issued["token"])


@command.group("channels")
def channels() -> None:
    """List and set the channels that pushers may subscribe to.

    \b
    Example:
      tidelog matrix channels list
    """


@channels.command("list")
@configured
@app_option
@as_json
def list_channels(configuration: Configuration, app: str | None, as_json: bool) -> None:
    """List the channels, and what a new pusher begins with.

    \b
    Example:
      tidelog matrix channels list --json
    """
    rules = ask(configuration, "matrix.show", app=app)
    if as_json:
        print_json(rules["channels"])
    else:
        _print_channels(rules)


@channels.command("set")
@click.argument("channels", nargs=-1, metavar="[ID[=STATUS]]...")
@configured
@app_option
@as_json
def set_channels(
    configuration: Configuration, channels: tuple[str, ...], app: str | None, as_json: bool
) -> None:
    """Set the channels: these from now on, in this order, and no others. STATUS is what a new
    pusher begins with: enabled, disabled (unless given) or not_set. None at all: no channels.

    \b
    Example:
      tidelog matrix channels set erp.task.accept erp.communication.new=enabled
    """
    wanted = dict(map(_channel, channels))
    if len(wanted) < len(channels):
        raise click.UsageError("a channel can be listed only once")
    rules = ask(configuration, "matrix.channels", channels=wanted, app=app)
    if as_json:
        print_json(rules["channels"])
    else:
        _print_channels(rules)


@command.group("encryption")
def encryption() -> None:
    """Show and set whether notifications must be encrypted.

    \b
    Example:
      tidelog matrix encryption show
    """


@encryption.command("show")
@configured
@app_option
@as_json
def show_encryption(configuration: Configuration, app: str | None, as_json: bool) -> None:
    """Show the rules: for all, and for those that have one of their own.

    \b
    Example:
      tidelog matrix encryption show
    """
    _show_encryption(ask(configuration, "matrix.show", app=app), as_json)


@encryption.command("set")
@click.argument("rule", type=click.Choice([*ENCRYPTION, DEFAULT]))
@configured
@app_option
@click.option("--app-id", metavar="ID", help="Of this client application.  [default: of all]")
@as_json
def set_encryption(
    configuration: Configuration, rule: str, app: str | None, app_id: str | None, as_json: bool
) -> None:
    """Set whether pushers must, may or must not be encrypted. `default` takes a rule back. Pushers
    that are there already stay as they are.

    \b
    Examples:
      tidelog matrix encryption set required --app-id de.gematik.erezept.ios
      tidelog matrix encryption set default --app-id de.gematik.erezept.ios
    """
    wanted = None if rule == DEFAULT else rule
    rules = ask(configuration, "matrix.encryption", rule=wanted, app_id=app_id, app=app)
    _show_encryption(rules, as_json)


def _channel(text: str) -> tuple[str, str]:
    id_, given, status = text.rpartition("=")
    if not given:
        return text, NEW_CHANNEL
    if status not in STATUSES:
        raise click.BadParameter(f"{status!r} is none of {', '.join(STATUSES)}")
    return id_, status


def _print_channels(rules: dict[str, Any]) -> None:
    rows = [(channel["id"], channel["status"]) for channel in rules["channels"]]
    print_table(("CHANNEL", "AT FIRST"), rows)


def _show_encryption(rules: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({name: rules[name] for name in ("encryption", "encryptionOf")})
    else:
        _print_encryption(rules)


def _print_encryption(rules: dict[str, Any]) -> None:
    click.echo(f"encryption: {rules['encryption']}")
    for app_id, rule in sorted(rules["encryptionOf"].items()):
        click.echo(f"encryption of {visible(app_id)}: {rule}")
