"""A log of posts as plain dicts and lists: what the real one must look like after any history.

It shares no code with storage but the names of things. Serials are the log's own (it may choose
them, in order); so are record sizes. Everything else is worked out here.
"""

from dataclasses import dataclass, field

import msgpack

from storage import Outcome, Stream
from tests.storage.ledger import POSTS, Post


@dataclass
class Entry:
    """A kept record. `text` is None when it was redacted."""

    serial: int
    sequence: int
    text: str | None
    id: str


@dataclass
class Model:
    streams: dict[Stream, list[Entry]] = field(default_factory=dict)
    ever: dict[Stream, int] = field(default_factory=dict)
    ids: dict[tuple[str, str, str], int] = field(default_factory=dict)
    tallies: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    last: int = 0

    def submitted(self, post: Post, result: Outcome | Exception) -> None:
        """Take in one command, and check that the log made of it what it must."""
        breaks = post.break_fold and post.kind == POSTS
        known = self.ids.get((post.app, post.channel, post.id)) if post.id else None
        if post.refuse or (breaks and known is None):
            assert isinstance(result, Exception), f"{post} was taken: {result}"
            assert type(result).__name__ == ("Refused" if post.refuse else "RuntimeError")
            return
        assert isinstance(result, Outcome), f"{post} was refused: {result!r}"
        assert result.duplicate == (known is not None)
        if known is not None:
            assert result.serials == (known,)
            return
        assert len(result.serials) == post.count
        for number, serial in enumerate(result.serials):
            self._append(post, serial, first=number == 0)

    def _append(self, post: Post, serial: int | None, first: bool) -> None:
        assert serial is not None
        assert serial > self.last
        self.last = serial
        stream = Stream(post.app, post.channel, post.kind)
        text = "BREAK" if post.break_fold else post.text
        self.ever[stream] = self.ever.get(stream, 0) + 1
        id_ = post.id if first else ""
        self.streams.setdefault(stream, []).append(Entry(serial, self.ever[stream], text, id_))
        if id_:
            self.ids[post.app, post.channel, id_] = serial
        if post.kind == POSTS:
            count, _ = self.tallies.get((post.app, post.channel), (0, ""))
            self.tallies[post.app, post.channel] = (count + 1, text)

    def trimmed(self, stream: Stream, serial: int) -> None:
        """Every record at or below `serial` went."""
        for entry in self.streams.get(stream, []):
            if entry.serial <= serial:
                self._forget_id(stream, entry)
        self.streams[stream] = [e for e in self.streams.get(stream, []) if e.serial > serial]

    def redacted(self, stream: Stream, last: int, text: str) -> None:
        for entry in self.streams.get(stream, []):
            if entry.serial <= last and entry.text == text:
                self._forget_id(stream, entry)
                entry.text = None

    def _forget_id(self, stream: Stream, entry: Entry) -> None:
        if entry.id and entry.text is not None:
            del self.ids[stream.app, stream.channel, entry.id]

    def rows(self) -> dict[str, dict[bytes, bytes]]:
        """The projections, as the ledger writes them."""
        return {
            "ids": {
                "/".join(key).encode(): serial.to_bytes(8, "big")
                for key, serial in self.ids.items()
            },
            "tallies": {
                "/".join(key).encode(): msgpack.packb(tally) for key, tally in self.tallies.items()
            },
        }

    def visible(self, stream: Stream) -> list[tuple[int, int, str, str]]:
        """What reading a stream gives: (serial, sequence, text, id)."""
        kept = self.streams.get(stream, [])
        return [(e.serial, e.sequence, e.text, e.id) for e in kept if e.text is not None]

    def all_serials(self) -> list[int]:
        """What a tail from the beginning gives, redacted records included."""
        return sorted(e.serial for entries in self.streams.values() for e in entries)
