"""`tidelog apps`: the apps of a broker."""

from typing import Any

import click

from api.cli.asking import ask
from api.cli.options import as_json, ask_first, bound, configured, confirmed, given, limited
from api.cli.output import instant, limits_of, print_json, print_table
from api.config import Configuration


@click.group("apps")
def command() -> None:
    """List, create, limit and delete apps: the tenants, each with channels and keys of its own.

    \b
    Example:
      tidelog apps create --name "staging"
    """


@command.command("list")
@configured
@as_json
def list_apps(configuration: Configuration, as_json: bool) -> None:
    """List the apps, oldest first.

    \b
    Example:
      tidelog apps list --json
    """
    apps = ask(configuration, "apps.list")
    if as_json:
        print_json(apps)
        return
    rows = [(app["id"], instant(app["created"]), app["name"], limits_of(app)) for app in apps]
    print_table(("APP", "CREATED", "NAME", "LIMITS"), rows)


@command.command("create")
@configured
@click.option("--id", "app", metavar="APP", help="The app's id.  [default: a random one]")
@click.option("--name", default="", metavar="TEXT", help="What people call it.")
@as_json
def create_app(configuration: Configuration, app: str | None, name: str, as_json: bool) -> None:
    """Create an app with a root key, and print the key.

    \b
    Example:
      tidelog apps create --name "staging"
    """
    created = ask(configuration, "apps.create", app=app, name=name)
    if as_json:
        print_json(created)
    else:
        click.echo(created["key"])


@command.command("limits")
@click.argument("app")
@configured
@limited
@click.option("--connections-max", callback=bound, metavar="N", help="So many connections.")
@as_json
def limit_app(configuration: Configuration, app: str, as_json: bool, **limits: Any) -> None:
    """Set limits of APP; those not given stay. `default` is what [rate_limits] says.

    \b
    Examples:
      tidelog apps limits a1b2c3 --messages-per-s 500 --connections-max 1000
      tidelog apps limits a1b2c3 --messages-per-s default
    """
    wanted = given(limits, "give at least one limit, such as --messages-per-s 500")
    changed = ask(configuration, "apps.limits", app=app, limits=wanted)
    if as_json:
        print_json(changed)
    else:
        click.echo(f"{changed['id']}: {limits_of(changed) or '(the defaults)'}")


@command.command("delete")
@click.argument("app")
@configured
@confirmed
def delete_app(configuration: Configuration, app: str, yes: bool) -> None:
    """Delete an app, its keys and namespaces, and everything published in it.

    \b
    Example:
      tidelog apps delete a1b2c3 --yes
    """
    ask_first(f"Delete app {app} and everything in it?", yes)
    ask(configuration, "apps.delete", app=app)
