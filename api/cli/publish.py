"""`tidelog publish`: one message onto a channel."""

import sys
from typing import Any

import click
import msgspec

from api.cli.asking import ask
from api.cli.options import app_option, as_json, configured
from api.cli.output import print_json
from api.config import Configuration

STDIN_BYTES_MAX = 8 * 1024 * 1024


@click.command("publish")
@click.argument("channel")
@click.argument("data", required=False)
@configured
@app_option
@click.option("--name", metavar="NAME", help="The message's (event) name.")
@click.option("--id", "message_id", metavar="ID", help="Publish this id once, however often sent.")
@click.option("--client-id", metavar="ID", help="The client that the message is from.")
@click.option("--extras", metavar="JSON", help='For example \'{"headers":{"k":"v"}}\'.')
@click.option("--parse", is_flag=True, help="DATA is JSON: publish the value, not the text.")
@as_json
def command(
    configuration: Configuration,
    channel: str,
    data: str | None,
    app: str | None,
    name: str | None,
    message_id: str | None,
    client_id: str | None,
    extras: str | None,
    parse: bool,
    as_json: bool,
) -> None:
    """Publish one message. When this returns, it is on disk.

    DATA is text; `-` reads it from standard input. Makes the data directory if there is none.

    \b
    Examples:
      tidelog publish demo hello
      tidelog publish orders --name created --id order-7 --parse '{"id": 7}'
      date | tidelog publish demo -
    """
    message = {
        "data": _data(data, parse),
        "name": name,
        "id": message_id,
        "clientId": client_id,
        "extras": _parsed(extras, "--extras") if extras is not None else None,
    }
    published = ask(
        configuration, "publish", create=True, app=app, channel=channel, messages=[message]
    )
    if as_json:
        print_json(published)
    elif published["duplicate"]:
        click.echo(f"already published: {published['serials'][0]}")
    else:
        click.echo(published["serials"][0])


def _data(text: str | None, parse: bool) -> Any:
    if text == "-":
        text = sys.stdin.read(STDIN_BYTES_MAX + 1)
        if len(text) > STDIN_BYTES_MAX:
            raise click.UsageError(f"standard input holds more than {STDIN_BYTES_MAX} characters")
    if parse and text is None:
        raise click.UsageError("--parse needs DATA")
    return _parsed(text, "DATA") if parse and text is not None else text


def _parsed(text: str, what: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise click.UsageError(f"{what} is not JSON: {error}") from None
