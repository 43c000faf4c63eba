"""Bringing a data directory of an older format up to date, in one transaction, when it is opened
for writing. Readers take older formats as they are.

Format 1: the rows of the meta table had no checksum.
Format 2: they have one.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.engine import Writer

FORMAT = 2
META_DEFAULTS = {b"rows": 0, b"last": 0, b"version": 0}
"""What a log without records says of itself: see storage/README.md."""


def _seal_meta(writer: "Writer") -> None:
    for name, default in META_DEFAULTS.items():
        plain = writer.get("meta", name)
        writer.set_number(name, default if plain is None else int(plain))


UPGRADES: dict[int, Callable[["Writer"], None]] = {1: _seal_meta}
"""What leads from a format to the next one."""


def upgrade(writer: "Writer", found: int) -> None:
    for version in range(found, FORMAT):
        UPGRADES[version](writer)
    writer.set_number(b"format", FORMAT)
