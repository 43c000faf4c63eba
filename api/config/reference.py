"""The reference of all settings, as Markdown: docs/settings.md is what this says.

Made from the metadata that `tidelog config` prints from, so it cannot say anything else than the
code does. Refuses to look at the machine: a default is the code's, not what is in effect here.
"""

from collections.abc import Iterator

import msgspec

from api.config.catalogue import SECTIONS, SETTINGS, Setting, Value
from api.config.declared import TABLES

_HEAD = """# Settings

Written by `tidelog config --reference`; a test holds it to the code. A setting has one name in
three spellings, and the later wins:

| where | spelling |
| --- | --- |
| the file of `--config FILE` or `TIDELOG_CONFIG` (TOML) | `port = 9000` under `[server]` |
| environment | `TIDELOG_SERVER_PORT=9000` |
| command line | `--set server.port=9000` |

In the environment, true and false are `true` and `false` (or `1`, `0`, `yes`, `no`), and a list is
separated by commas. What is not a setting is refused, with where it was found. `tidelog config`
prints what is in effect, and why. `TIDELOG_KEY` declares a key as `--key` does; only the file
declares more: {tables}.
SIGHUP reads those declarations again, and the settings that are marked so; the others want a
restart, and the log says which of them have changed."""
_COLUMNS = """\
| setting | default | unit | what it is | SIGHUP | variable |
| --- | --- | --- | --- | --- | --- |"""
_TITLES = {"": "Outside of any section"}


def reference() -> str:
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _HEAD.format(tables=", ".join(f"`[[{table}]]`" for table in TABLES))
    for section in SECTIONS:
        yield f"\n## {_TITLES.get(section, f'`[{section}]`')}\n\n{_COLUMNS}"
        for setting in SETTINGS:
            if setting.section == section:
                yield _row(setting)


def _row(setting: Setting) -> str:
    cells = (
        f"`{setting.field}`",
        f"`{_shown(setting.default)}`",
        setting.unit,
        setting.help,
        "yes" if setting.reloads else "",
        f"`{setting.variable}`",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _shown(default: Value) -> str:
    """As TOML, whose values of these kinds are those of JSON."""
    return msgspec.json.encode(default).decode()
