"""What commands print: JSON for scripts, plain text for people.

Plain text never carries control characters that somebody published: a terminal would obey them.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec


def print_json(value: Any) -> None:
    """One line of JSON."""
    click.echo(msgspec.json.encode(value))


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as what they hold; only the heads when there is nothing."""
    cells = [[visible(str(cell)) for cell in row] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def visible(text: str) -> str:
    """The text with what would move a cursor, change a colour or hide something escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def print_message(message: Mapping[str, Any], as_json: bool) -> None:
    """A message in its wire form: one line."""
    if as_json:
        print_json(message)
        return
    parts = [instant(message["timestamp"]), message.get("name", "-"), _payload(message)]
    if "clientId" in message:
        parts.append(f"(from {message['clientId']})")
    click.echo("  ".join(visible(part) for part in parts))


def instant(ms: int) -> str:
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def amount(size_bytes: int) -> str:
    """Bytes for people."""
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _payload(message: Mapping[str, Any]) -> str:
    encoding = message.get("encoding")
    data = message.get("data", "")
    return f"[{encoding}] {data}" if encoding and encoding != "json" else data


def limits_of(item: Mapping[str, Any]) -> str:
    """An app's, or a key's, as a cell: those that are its own."""
    return ", ".join(f"{name}={value}" for name, value in item["limits"].items())
