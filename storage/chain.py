"""Chain heads: where each stream's chain stands, so that the next record can link to it.

A bounded memory over what the index, the log and the snapshots already say; a miss costs one seek.
"""

from storage.engine import Reader
from storage.errors import Damaged
from storage.record import NO_LINK, Link, Stream, serial_key, stream_key, unpack
from storage.serial import SERIAL_MAX
from storage.snapshot import read_snapshot


def last_link(reader: Reader, stream: Stream) -> Link:
    """The end of a stream's chain as stored; the snapshot's when every record was trimmed."""
    key = stream_key(stream)
    stop = key + serial_key(SERIAL_MAX)
    for entry, _ in reader.walk("index", key, stop, reverse=True):
        serial = int.from_bytes(entry[len(key) :], "big")
        value = reader.get("log", entry[len(key) :])
        if value is None:
            raise Damaged(f"record {serial} of channel {stream.channel!r} is missing")
        return unpack(serial, value, bytes).link
    snapshot = read_snapshot(reader, stream)
    return snapshot.link if snapshot else NO_LINK


class Heads:
    """The writer's memory of chain heads: at most `limit`, the oldest half forgotten when full."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._links: dict[Stream, Link] = {}

    def get(self, reader: Reader, stream: Stream) -> Link:
        link = self._links.get(stream)
        return link if link is not None else last_link(reader, stream)

    def update(self, links: dict[Stream, Link]) -> None:
        """Remember the heads of a commit that is on disk."""
        self._links.update(links)
        if len(self._links) > self._limit:
            for stream in list(self._links)[: len(self._links) - self._limit // 2]:
                del self._links[stream]
