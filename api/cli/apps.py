"""`tidelog apps`: the apps of a broker."""

import click

from api.cli.asking import ask
from api.cli.options import as_json, ask_first, configured, confirmed
from api.cli.output import instant, print_json, print_table
from api.config import Configuration


@click.group("apps")
def command() -> None:
    """List, create and delete apps: the tenants, each with channels and keys of its own.

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
    rows = [(app["id"], instant(app["created"]), app["name"]) for app in apps]
    print_table(("APP", "CREATED", "NAME"), rows)


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
