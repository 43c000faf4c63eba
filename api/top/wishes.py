"""What whoever looks at the dashboard wants to see, and the keys that say so.

    q         leaves                  s         sorts by the next column
    /         begins a filter         Escape    forgets it
While a filter is typed: Enter keeps it, Backspace takes back a letter, anything else is part of it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from api.top.figures import ChannelRates

CONTAINS_CHARS_MAX = 64
ENTER, ESCAPE, BACKSPACE = "\n", "\x1b", "\x7f"
_BACK = {BACKSPACE, "\b"}


class Sort(NamedTuple):
    """A column to sort by; the most first, but of names."""

    head: str
    key: Callable[[ChannelRates], Any]


SORTS: dict[str, Sort] = {
    "out": Sort("OUT/S", lambda row: -(row.messages_out_per_second or 0)),
    "in": Sort("IN/S", lambda row: -(row.messages_in_per_second or 0)),
    "attached": Sort("ATTACHED", lambda row: -row.attachments),
    "members": Sort("MEMBERS", lambda row: -row.members),
    "name": Sort("CHANNEL", lambda row: 0),
}


@dataclass
class Wishes:
    """`contains`: what names of channels are to contain, in whatever case."""

    sort: str = "out"
    contains: str = ""
    is_typing: bool = False

    def chosen(self, rows: Iterable[ChannelRates]) -> list[ChannelRates]:
        wanted, sort = self.contains.casefold(), SORTS[self.sort]
        found = [row for row in rows if wanted in row.channel.casefold()]
        return sorted(found, key=lambda row: (sort.key(row), row.channel, row.app))

    def press(self, key: str) -> bool:
        """Take a key; False when it is the one to leave with."""
        if self.is_typing:
            self._type(key)
            return True
        if key == "s":
            names = list(SORTS)
            self.sort = names[(names.index(self.sort) + 1) % len(names)]
        elif key == "/":
            self.is_typing = True
        elif key == ESCAPE:
            self.contains = ""
        return key != "q"

    def _type(self, key: str) -> None:
        if key in (ENTER, "\r"):
            self.is_typing = False
        elif key == ESCAPE:
            self.is_typing, self.contains = False, ""
        elif key in _BACK:
            self.contains = self.contains[:-1]
        elif key.isprintable() and len(self.contains) < CONTAINS_CHARS_MAX:
            self.contains += key
