"""`tidelog namespaces`: rules for the channels that share what stands before the first colon."""

from typing import Any

import click

from api.cli.asking import ask
from api.cli.options import app_option, as_json, bound, configured, given
from api.cli.output import print_json, print_table
from api.config import Configuration

SWITCHES = ("persisted", "identified", "push_enabled", "mutable_messages")
BOUNDS = ("retention_ms", "messages_max", "bytes_max", "messages_per_s", "bytes_per_s")


@click.group("namespaces")
def command() -> None:
    """List, set and remove the rules of namespaces: what holds for channels `NAMESPACE:...`.

    \b
    Example:
      tidelog namespaces set orders --retention-ms 0
    """


@command.command("list")
@configured
@app_option
@as_json
def list_namespaces(configuration: Configuration, app: str | None, as_json: bool) -> None:
    """List an app's namespaces and their rules.

    \b
    Example:
      tidelog namespaces list --json
    """
    found = ask(configuration, "namespaces.list", app=app)
    if as_json:
        print_json(found)
        return
    print_table(("NAMESPACE", "RULES"), [(item["id"], _rules(item)) for item in found])


@command.command("set")
@click.argument("namespace")
@configured
@app_option
@click.option(
    "--persisted/--not-persisted",
    default=None,
    help="Counted as such in statistics; messages are kept either way.",
)
@click.option("--identified/--not-identified", default=None, help="Identified clients only.")
@click.option("--push-enabled/--not-push-enabled", default=None, help="Allow push.")
@click.option("--mutable-messages/--not-mutable-messages", default=None, help="Allow updates.")
@click.option("--retention-ms", callback=bound, metavar="MS", help="Keep so long; 0 is for ever.")
@click.option("--messages-max", callback=bound, metavar="N", help="Keep so many per channel.")
@click.option("--bytes-max", callback=bound, metavar="N", help="Keep so many bytes per channel.")
@click.option("--messages-per-s", callback=bound, metavar="N", help="Take so many per channel.")
@click.option("--bytes-per-s", callback=bound, metavar="N", help="Take so many per channel.")
@as_json
def set_namespace(
    configuration: Configuration, namespace: str, app: str | None, as_json: bool, **rules: Any
) -> None:
    """Set rules of NAMESPACE; those not given stay. `default` takes a number back.

    \b
    Examples:
      tidelog namespaces set orders --retention-ms 0 --identified
      tidelog namespaces set orders --retention-ms default
    """
    wanted = given(rules, "give at least one rule, such as --retention-ms 0")
    changed = ask(configuration, "namespaces.set", namespace=namespace, app=app, rules=wanted)
    if as_json:
        print_json(changed)
    else:
        click.echo(f"{changed['id']}: {_rules(changed)}")


@command.command("remove")
@click.argument("namespace")
@configured
@app_option
def remove_namespace(configuration: Configuration, namespace: str, app: str | None) -> None:
    """Remove the rules of NAMESPACE; its channels and messages stay.

    \b
    Example:
      tidelog namespaces remove orders
    """
    ask(configuration, "namespaces.remove", namespace=namespace, app=app)


def _rules(item: dict[str, Any]) -> str:
    on = [name for name in SWITCHES if item[name]]
    bounds = [f"{name}={item[name]}" for name in BOUNDS if item[name] is not None]
    return ", ".join([*on, *bounds]) or "(the defaults)"
