"""Which byte of an LMDB file means what: the targets of the bit flips.

Parses the format of LMDB 0.9 (lmdb/verify.py documents it) from the current meta page down:

    page   16 bytes header (number 8, pad 2, flags 2, lower 2, upper 2), pointers, free space, nodes
    node   8 bytes header (size or child 4, flags 2, key size 2), key, value
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

PAGE = 4096
HEADER = 16
BRANCH, LEAF, OVERFLOW = 1, 2, 4
BIG, SUBTREE = 1, 2
NO_PAGE = (1 << 64) - 1
_PAGE_FIELDS = {
    "number": (0, 8),
    "pad": (8, 2),
    "flags": (10, 2),
    "lower": (12, 2),
    "upper": (14, 2),
}
_TREE_FIELDS = {
    "flags": (4, 2),
    "depth": (6, 2),
    "branches": (8, 8),
    "leaves": (16, 8),
    "overflows": (24, 8),
    "entries": (32, 8),
    "root": (40, 8),
}
_META_FIELDS = {
    "magic": (16, 4),
    "version": (20, 4),
    "address": (24, 8),
    "map size": (32, 8),
    "page size": (40, 4),
    **{f"free tree {name}": (40 + at, size) for name, (at, size) in _TREE_FIELDS.items()},
    "main tree pad": (88, 4),
    **{f"main tree {name}": (88 + at, size) for name, (at, size) in _TREE_FIELDS.items()},
    "last page": (136, 8),
    "transaction": (144, 8),
}
_META_END = 152


class Region(NamedTuple):
    """Bytes with one meaning. `kind` is what a flip in them is called in a report."""

    kind: str
    offset: int
    size: int


@dataclass
class Map:
    """Walks every tree of a file; `regions` covers all of its bytes."""

    data: bytes
    regions: list[Region] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        newest = max((0, 1), key=lambda n: self._number(n * PAGE + 144, 8))
        for number, base in ((0, 0), (1, PAGE)):
            self._meta("current meta" if number == newest else "older meta", base)
        base = newest * PAGE
        self._tree("freelist", self._number(base + 40 + 40, 8))
        self._tree("tables", self._number(base + 88 + 40, 8))
        for page in range(2, len(self.data) // PAGE):
            if page not in self.seen:
                self._add("free page", page * PAGE, PAGE)

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self.data[at : at + size], "little")

    def _add(self, kind: str, offset: int, size: int) -> None:
        if size > 0:
            self.regions.append(Region(kind, offset, size))

    def _meta(self, name: str, base: int) -> None:
        for part, (at, size) in [("number", (0, 8)), ("flags", (10, 2)), *_META_FIELDS.items()]:
            self._add(f"{name}: {part}", base + at, size)
        self._add(f"{name}: unused", base + _META_END, PAGE - _META_END)

    def _tree(self, name: str, page: int) -> None:
        if page == NO_PAGE:
            return
        self.seen.add(page)
        base = page * PAGE
        _, _, flags, lower, upper = struct.unpack_from("<QHHHH", self.data, base)
        shape = "branch" if flags & BRANCH else "leaf"
        for part, (at, size) in _PAGE_FIELDS.items():
            self._add(f"{shape} page header: {part}", base + at, size)
        self._add(f"{shape} page pointers", base + HEADER, lower - HEADER)
        self._add("unused bytes of a page", base + lower, upper - lower)
        for number in range((lower - HEADER) // 2):
            node = base + self._number(base + HEADER + 2 * number, 2)
            if flags & BRANCH:
                self._branch_node(name, node, first=number == 0)
            else:
                self._leaf_node(name, node)

    def _branch_node(self, name: str, node: int, first: bool) -> None:
        low, high, flags, size = struct.unpack_from("<HHHH", self.data, node)
        self._add("branch node: child and flags", node, 6)
        self._add("branch node: key size", node + 6, 2)
        self._add("branch node: key (unused)" if first else "branch node: key", node + 8, size)
        self._tree(name, low | high << 16 | flags << 32)

    def _leaf_node(self, name: str, node: int) -> None:
        low, high, flags, key_size = struct.unpack_from("<HHHH", self.data, node)
        size = low | high << 16
        for part, at, width in (("size", 0, 4), ("flags", 4, 2), ("key size", 6, 2)):
            self._add(f"leaf node header: {part}", node + at, width)
        self._add(f"{name}: key", node + 8, key_size)
        value = node + 8 + key_size
        if flags & BIG:
            self._add(f"{name}: overflow page number", value, 8)
            self._overflow(name, self._number(value, 8), size)
        elif flags & SUBTREE:
            for part, (at, width) in {"pad": (0, 4), **_TREE_FIELDS}.items():
                self._add(f"table root: {part}", value + at, width)
            self._tree(self.data[node + 8 : value].decode(), self._number(value + 40, 8))
        else:
            self._add(f"{name}: value", value, size)

    def _overflow(self, name: str, page: int, size: int) -> None:
        base, pages = page * PAGE, (HEADER - 1 + size) // PAGE + 1
        self.seen.update(range(page, page + pages))
        for part, at, width in (
            ("number", 0, 8),
            ("pad", 8, 2),
            ("flags", 10, 2),
            ("pages", 12, 4),
        ):
            self._add(f"overflow page header: {part}", base + at, width)
        self._add(f"{name}: overflow value", base + HEADER, size)
        self._add(
            "unused bytes of an overflow page", base + HEADER + size, pages * PAGE - HEADER - size
        )


def by_kind(data: bytes) -> dict[str, list[Region]]:
    kinds: dict[str, list[Region]] = {}
    for region in Map(data).regions:
        kinds.setdefault(region.kind, []).append(region)
    return kinds


def offsets(regions: list[Region]) -> Iterator[int]:
    for region in regions:
        yield from range(region.offset, region.offset + region.size)
