"""`tidelog keys`: the API keys of an app.

Keys are printed whole, for that is what these commands are for; whoever can read the data directory
has them anyway.
"""

from typing import Any

import click

from api.cli.asking import ask
from api.cli.options import app_option, as_json, configured
from api.cli.output import print_json, print_table
from api.config import Configuration
from broker.apps import DEFAULT_CAPABILITY


@click.group("keys")
def command() -> None:
    """List, create, revoke and rotate API keys.

    \b
    Example:
      tidelog keys list
    """


@command.command("list")
@configured
@click.option("--app", metavar="APP", help="The app's id.  [default: all apps]")
@click.option("--revoked", is_flag=True, help="Revoked keys too.")
@as_json
def list_keys(configuration: Configuration, app: str | None, revoked: bool, as_json: bool) -> None:
    """List keys, whole: appId.keyId:secret. The oldest app's come first.

    \b
    Examples:
      tidelog keys list
      KEY=$(tidelog keys list --data ./data --json | jq -r '.[0].key')
    """
    keys = ask(configuration, "keys.list", app=app, revoked=revoked)
    if as_json:
        print_json(keys)
        return
    rows = [(key["key"], "revoked" if key["revoked"] else "", key["capability"]) for key in keys]
    print_table(("KEY", "", "CAPABILITY"), rows)


@command.command("create")
@configured
@app_option
@click.option("--capability", metavar="JSON", default=DEFAULT_CAPABILITY, show_default=True)
@click.option("--revocable-tokens", is_flag=True, help="Its tokens can be revoked.")
@as_json
def create_key(
    configuration: Configuration,
    app: str | None,
    capability: str,
    revocable_tokens: bool,
    as_json: bool,
) -> None:
    """Create a key with a random secret, and print it.

    \b
    Example:
      tidelog keys create --capability '{"orders:*":["publish","history"]}'
    """
    granted: dict[str, Any] = {"capability": capability, "revocable_tokens": revocable_tokens}
    _print(ask(configuration, "keys.create", app=app, **granted), as_json)


@command.command("revoke")
@click.argument("key")
@configured
@app_option
@as_json
def revoke_key(configuration: Configuration, key: str, app: str | None, as_json: bool) -> None:
    """Revoke KEY (appId.keyId, or keyId): from now on it opens nothing.

    \b
    Example:
      tidelog keys revoke a1b2c3.Xy12Zw
    """
    revoked = ask(configuration, "keys.revoke", key=key, app=app)
    if as_json:
        print_json(revoked)
    else:
        click.echo(f"revoked {revoked['name']}")


@command.command("rotate")
@click.argument("key")
@configured
@app_option
@as_json
def rotate_key(configuration: Configuration, key: str, app: str | None, as_json: bool) -> None:
    """Replace KEY: create one that may do the same, print it, and revoke the old one.

    \b
    Example:
      tidelog keys rotate a1b2c3.Xy12Zw
    """
    _print(ask(configuration, "keys.rotate", key=key, app=app), as_json)


def _print(key: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(key)
    else:
        click.echo(key["key"])
