"""The reference of all commands, as Markdown: docs/cli.md is what this says.

Made from the commands that `--help` prints from, so it cannot say anything else than they do.
Refuses to look at the machine: a default is the command's, not what is in effect here.
"""

import inspect
from collections.abc import Iterator

import click

_HEAD = """# The command line

Written by `tidelog --reference`; a test holds it to the code. `tidelog COMMAND --help` says the
same of one command, `-h` too.

Commands print what they found or did on standard output, and what went wrong on standard error.

| exit status | what it means |
| --- | --- |
| 0 | done, or whoever read the output left early |
| 1 | it failed; one line says what to do |
| 2 | the command line or the configuration is wrong; nothing was done |

`--data` names the data directory: `./data` if it is not given. Commands that ask or change
something do it through the broker that runs on the directory, or open the directory themselves when
none runs. `tail` needs one that runs; `compact` needs that none does; `restore` and `import` need a
directory that is empty or absent. Settings are read as [settings.md](settings.md) says. `--json`
prints JSON for scripts."""
_COLUMNS = "| option | what it is |\n| --- | --- |"
_EXAMPLE = ("Example:", "Examples:")


def reference(root: click.Group) -> str:
    name = root.name or ""
    return "\n".join([_HEAD, *_use(root, name), *_sections(root, name)]) + "\n"


def _sections(group: click.Group, path: str) -> Iterator[str]:
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from _section(command, f"{path} {name}")
        if isinstance(command, click.Group):
            yield from _sections(command, f"{path} {name}")


def _section(command: click.Command, path: str) -> Iterator[str]:
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    yield from _use(command, path, *map(_paragraph, paragraphs))


def _use(command: click.Command, path: str, *paragraphs: str) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    yield "\n\n".join([f"\n## `{path}`", f"`{path} {usage}`", *paragraphs])
    options = (one for one in command.params if isinstance(one, click.Option))
    rows = [_row(*record) for one in options if (record := one.get_help_record(context))]
    if rows:
        yield "\n".join(["", _COLUMNS, *rows])


def _paragraph(text: str) -> str:
    """What click leaves as it is (a line of \\b before it) is an example of what to type."""
    first, *rest = text.removeprefix("\b\n").splitlines()
    if first not in _EXAMPLE:
        return "\n".join([first, *rest])
    return "\n".join([first, "", "```sh", *(line.removeprefix("  ") for line in rest), "```"])


def _row(*cells: str) -> str:
    option, said = (cell.replace("|", "\\|") for cell in cells)
    return f"| `{option}` | {said} |"
