"""What one read transaction sees: the projections, where the log stands, where its streams end.

Everything here is a point read of a microsecond or a few; pages of records are `storage.reading`.
"""

from storage.engine import Reader
from storage.opening import position_of
from storage.projection import Projection
from storage.record import SERIAL_BYTES, Stream, serial_key, stream_key
from storage.rows import AllRows, StoredRows
from storage.serial import SERIAL_MAX
from storage.snapshot import read_snapshot


class View(AllRows):
    """The rows of every projection, and the ends of the streams, at one position."""

    def __init__(self, reader: Reader, projections: tuple[Projection, ...]) -> None:
        super().__init__(StoredRows(reader, reader.rows_table), projections)
        self._reader = reader

    @property
    def position(self) -> int:
        """The last serial that was assigned."""
        return position_of(self._reader)

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

    def trimmed(self, stream: Stream) -> int:
        """The serial of the newest record that a trim took from a stream; 0 when none did."""
        snapshot = read_snapshot(self._reader, stream)
        return snapshot.link.serial if snapshot else 0
