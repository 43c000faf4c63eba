"""What `broker` registers with a log: how to decide a command, and how to fold its events.

Everything that can be asked is a fold over the log, kept as rows in the same LMDB environment and
moved forward in the same transaction as the append: a projection never lags and can be rebuilt
with the same result. `decide` and `fold` are pure: no clock, no randomness, no I/O but the rows
they are given. They may run again (retry, rebuild).

A projection declares the kinds of stream that it folds (never another projection's rows) and what
a trim does to it. DROP: the rows of a trimmed record go with it, by `unfold`. KEEP: what the
trimmed records folded to stays, carried by the stream's snapshot.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

import msgspec

from storage.record import Decode, Encode, Record, Stream


class OnTrim(Enum):
    DROP = "dropped with the record"
    KEEP = "kept, in the snapshot"


class Rows(Protocol):
    """Read access to the projections, by table name. Keys and values are bytes."""

    def get(self, table: str, key: bytes) -> bytes | None: ...

    def scan(
        self, table: str, prefix: bytes = b"", after: bytes = b""
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose keys start with `prefix` and lie behind `after`, in key order."""

    def between(
        self, table: str, first: bytes, stop: bytes, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with first <= key < stop, in key order or against it: one seek to either end."""


class Table(Protocol):
    """Write access to one projection's rows: what its fold is given."""

    def get(self, key: bytes) -> bytes | None: ...

    def put(self, key: bytes, value: bytes) -> None: ...

    def delete(self, key: bytes) -> None: ...

    def scan(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]: ...


class Projection(Protocol):
    """A fold. `prefix` (one byte, unique) keeps its rows apart from the others'."""

    name: str
    prefix: bytes
    kinds: frozenset[int]
    on_trim: OnTrim

    def fold(self, table: Table, record: Record) -> None: ...

    def unfold(self, table: Table, record: Record) -> None:
        """Forget what `record` put here. Called for DROP projections only."""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What a command comes to: events to append, or the serials of an earlier, equal command."""

    events: Sequence[tuple[Stream, Any]] = ()
    duplicate: tuple[int | None, ...] | None = None
    reply: Any = None


Decide = Callable[[Rows, Any, int], Decision]
"""(rows, command, time in ms) -> Decision. A refusal is an exception; it never aborts its batch."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a command, known once its commit is on disk.

    serials: one per event, or those of the original for a duplicate.
    """

    serials: tuple[int | None, ...]
    duplicate: bool = False
    reply: Any = None


@dataclass(frozen=True, slots=True)
class Domain:
    """The meaning that the log itself does not know.

    `version` counts up when a fold writes other rows than before for the same events: a log whose
    rows an older version wrote is rebuilt when it is opened.
    """

    decide: Mapping[type, Decide]
    projections: tuple[Projection, ...]
    encode: Encode
    decode: Decode
    version: int = 1
    by_kind: dict[int, tuple[Projection, ...]] = field(init=False)

    def __post_init__(self) -> None:
        prefixes = [projection.prefix for projection in self.projections]
        assert len(set(prefixes)) == len(prefixes), "projections share a prefix"
        assert all(len(prefix) == 1 for prefix in prefixes)
        kinds = {kind for projection in self.projections for kind in projection.kinds}
        folds = {
            kind: tuple(p for p in self.projections if kind in p.kinds) for kind in sorted(kinds)
        }
        object.__setattr__(self, "by_kind", folds)
