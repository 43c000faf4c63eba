"""`tidelog config`: every setting, what it is now, and why.

The text is itself a configuration file, so that `tidelog config > tidelog.toml` is where to begin.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from api import config
from api.cli.output import print_json
from api.config import SETTINGS, Configuration
from api.config.catalogue import Setting


@click.command("config")
@click.option("--config", "file", metavar="FILE", type=Path, help="Settings, in TOML.")
@click.option("--data", metavar="DIR", help="Data directory.  [default: ./data]")
@click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help="Any setting.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@click.option("--reference", is_flag=True, help="Print all settings and defaults, as Markdown.")
def command(
    file: Path | None,
    data: str | None,
    settings: tuple[str, ...],
    as_json: bool,
    reference: bool,
) -> None:
    """Print the effective settings: value, unit, what it means, and where it comes from.

    A setting is found in the file, as `port` under `[server]`; in the environment, as
    TIDELOG_SERVER_PORT; on the command line, as --set server.port=9000. The later wins. Secrets are
    not printed.

    \b
    Examples:
      tidelog config > tidelog.toml
      tidelog config --config tidelog.toml --json
      tidelog config --reference > docs/settings.md
    """
    if reference:
        from api.config.reference import reference as all_settings

        click.echo(all_settings(), nl=False)
        return
    from api.cli.serve import flags_of

    flags = flags_of({"data": data}, settings)
    found = config.load(file, environment=os.environ, flags=flags)
    if as_json:
        print_json(_document(found))
    else:
        click.echo("\n".join(_lines(found)))


def _document(found: Configuration) -> dict[str, Any]:
    return {
        "settings": [_fields(setting, found) for setting in SETTINGS],
        "keys": [_masked(key.key) for key in found.declared.keys],
        "beams": [beams.instance for beams in found.declared.beams],
        "unused": list(found.unused),
    }


def _fields(setting: Setting, found: Configuration) -> dict[str, Any]:
    effective = found.effective[setting.name]
    return {
        "name": setting.name,
        "value": effective.value,
        "unit": setting.unit,
        "help": setting.help,
        "default": setting.default,
        "origin": effective.origin,
        "variable": setting.variable,
    }


def _lines(found: Configuration) -> Iterator[str]:
    section = ""
    for setting in SETTINGS:
        if setting.section != section:
            section = setting.section
            yield f"\n[{section}]"
        effective = found.effective[setting.name]
        yield f"# {setting.help} ({setting.unit}; from {effective.origin})"
        yield f"{setting.field} = {_toml(effective.value)}"
    for key in found.declared.keys:
        yield f"\n# [[keys]]\n# key = {_toml(_masked(key.key))}"
    for beams in found.declared.beams:
        yield f"\n# [[beams]]\n# instance = {_toml(beams.instance)}"
    for variable in found.unused:
        yield f"\n# {variable} is set, but is no setting"


def _masked(key: str) -> str:
    return f"{key.partition(':')[0]}:***"


def _toml(value: Any) -> str:
    """TOML of what settings hold; its strings, numbers and lists are those of JSON."""
    import msgspec

    return msgspec.json.encode(value).decode()
