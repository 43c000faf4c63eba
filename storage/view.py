"""What one read transaction sees: the projections, where the log stands, where its streams end, and
pages of records with what the projections say of them at that moment.

All but the pages is a point read of a microsecond or a few. Pages are for `Log.query`, which asks
on a thread.
"""

from collections.abc import Mapping

from storage.engine import Reader
from storage.opening import position_of
from storage.projection import Domain
from storage.reading import Page, Span, fetch, read_merged, read_page
from storage.record import SERIAL_BYTES, Record, Stream, serial_key, stream_key
from storage.rows import AllRows, StoredRows
from storage.serial import SERIAL_MAX
from storage.settings import LogSettings
from storage.snapshot import read_snapshot


class View(AllRows):
    """The rows of every projection, and the ends of the streams, at one position."""

    def __init__(self, reader: Reader, domain: Domain, settings: LogSettings) -> None:
        super().__init__(StoredRows(reader, reader.rows_table), domain.projections)
        self._reader = reader
        self._domain = domain
        self._settings = settings

    @property
    def position(self) -> int:
        """The last serial that was assigned."""
        return position_of(self._reader)

    @property
    def lost_behind(self) -> int | None:
        """Serials behind this one were given out and are lost, up to where the log went on: it was
        restored, imported, or its loss was accepted. None when that never happened."""
        return self._reader.lost_behind

    @property
    def used_bytes(self) -> int:
        """What live pages of the log's file take."""
        return self._reader.used_bytes()

    def last(self, stream: Stream) -> int:
        """The serial of the newest record of a stream; 0 when it has none."""
        return self.nth_last(stream, 1)

    def nth_last(self, stream: Stream, count: int, since: int = 0) -> int:
        """The serial of the oldest of the last `count` records at or behind `since`; 0 when there
        is none."""
        key, found = stream_key(stream), 0
        span = key + serial_key(since), key + serial_key(SERIAL_MAX)
        for number, (entry, _) in enumerate(self._reader.walk("index", *span, reverse=True)):
            if number == count:
                break
            found = int.from_bytes(entry[-SERIAL_BYTES:], "big")
        return found

    def first(self, stream: Stream) -> int:
        """The serial of the oldest record of a stream; 0 when it has none."""
        key = stream_key(stream)
        span = key + serial_key(0), key + serial_key(SERIAL_MAX)
        entry = next(self._reader.walk("index", *span), None)
        return 0 if entry is None else int.from_bytes(entry[0][-SERIAL_BYTES:], "big")

    def record(self, stream: Stream, serial: int) -> Record | None:
        """A record of a stream; None when there is none of that serial. Raises Damaged."""
        if self._reader.get("index", stream_key(stream) + serial_key(serial)) is None:
            return None
        return fetch(self._reader, stream, serial, self._domain.decode)

    def page(self, stream: Stream, span: Span, *, limit: int) -> Page:
        """As `Log.read`."""
        decode = self._domain.decode
        return read_page(self._reader, stream, span, limit, decode, self._settings)

    def merged(self, spans: Mapping[Stream, Span], *, limit: int, size: int) -> Page:
        """As `Log.read_merged`."""
        decode = self._domain.decode
        return read_merged(self._reader, spans, limit, size, decode, self._settings)

    def trimmed(self, stream: Stream) -> int:
        """The serial of the newest record that a trim took from a stream; 0 when none did."""
        snapshot = read_snapshot(self._reader, stream)
        return snapshot.link.serial if snapshot else 0
