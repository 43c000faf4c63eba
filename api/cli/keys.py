"""`tidelog keys`: the API keys of an app.

Keys are printed whole, for that is what these commands are for; whoever can read the data directory
has them anyway.
"""

from typing import Any

import click

from api.cli.asking import ask
from api.cli.options import app_option, as_json, configured, given, limited
from api.cli.output import limits_of, print_json, print_table
from api.config import Configuration
from broker.apps import DEFAULT_CAPABILITY


@click.group("keys")
def command() -> None:
    """List, create, limit, revoke and rotate API keys.

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
    rows = [
        (key["key"], "revoked" if key["revoked"] else "", key["capability"], limits_of(key))
        for key in keys
    ]
    print_table(("KEY", "", "CAPABILITY", "LIMITS"), rows)


@command.command("create")
@configured
@app_option
@click.option("--capability", metavar="JSON", help=f"[default: {DEFAULT_CAPABILITY}]")
@click.option("--revocable-tokens", is_flag=True, help="Its tokens can be revoked.")
@click.option("--like", metavar="KEY", help="All that KEY may do, and its limits.")
@as_json
def create_key(
    configuration: Configuration,
    app: str | None,
    capability: str | None,
    revocable_tokens: bool,
    like: str | None,
    as_json: bool,
) -> None:
    """Create a key with a random secret, and print it.

    \b
    Examples:
      tidelog keys create --capability '{"orders:*":["publish","history"]}'
      tidelog keys create --like a1b2c3.Xy12Zw
    """
    if like is not None:
        if capability is not None or revocable_tokens:
            raise click.UsageError("--like says what the key may do: give nothing beside it")
        _print(ask(configuration, "keys.copy", key=like, app=app), as_json)
        return
    granted: dict[str, Any] = {"revocable_tokens": revocable_tokens}
    if capability is not None:
        granted["capability"] = capability
    _print(ask(configuration, "keys.create", app=app, **granted), as_json)


@command.command("limits")
@click.argument("key")
@configured
@app_option
@limited
@as_json
def limit_key(
    configuration: Configuration, key: str, app: str | None, as_json: bool, **limits: Any
) -> None:
    """Set limits of KEY and its tokens; those not given stay. `default` is what [rate_limits] says.

    \b
    Example:
      tidelog keys limits a1b2c3.Xy12Zw --requests-per-s 50
    """
    wanted = given(limits, "give at least one limit, such as --requests-per-s 50")
    changed = ask(configuration, "keys.limits", key=key, app=app, limits=wanted)
    if as_json:
        print_json(changed)
    else:
        click.echo(f"{changed['name']}: {limits_of(changed) or '(the defaults)'}")


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
    """Replace KEY at once: create one that may do the same, print it, and revoke the old one.

    Clients that have the old one are cut off. Where they must not be, create the new one first, and
    revoke the old one when nobody uses it any more.

    \b
    Examples:
      tidelog keys rotate a1b2c3.Xy12Zw
      tidelog keys create --like a1b2c3.Xy12Zw
    """
    _print(ask(configuration, "keys.rotate", key=key, app=app), as_json)


def _print(key: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(key)
    else:
        click.echo(key["key"])
