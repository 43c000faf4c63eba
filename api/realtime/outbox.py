"""What is on its way to one client: written at once where that is possible, queued in bounds else.

The path of every delivery, so the hottest of the broker. The socket, or TLS on it, is written to
directly, without waiting, while nothing is queued. What it does not take is queued, and one task
writes the queue off, many frames at a time; it exists only while there is a queue.

Invariants: bytes leave in the order they came. Replies are never dropped. Deliveries may be, and
only as a whole: a source whose frames were dropped is told from which position on, once, before
anything of it is taken again. A frame that was partly written, or encrypted, is finished.
Deliveries are queued up to `outbox_bytes_max`, and over all outboxes to the budget's bound, but one
in each always has room. Queued is also what was encrypted and not sent.

Fault model: the peer stops reading (its deliveries are dropped, and after `stalled_timeout_ms`
without progress the connection is aborted) or is gone (aborted at once; never an exception to who
delivers). Refuses to bound replies: who reads requests waits with `wait_below` before the next.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

import trio

from api.settings import ServerSettings
from api.sockets import Buffer, SocketWriter, wait_writable
from api.tls_stream import Stream, TlsStream

# What the flusher writes at a time: TLS encrypts all of it, and what is encrypted is never dropped.
CHUNK_BYTES = 64 * 1024
CHUNK_BUFFERS = 256  # the system takes 1,024


class Source(Protocol):
    """Whose frames are delivered: an attachment. Hashable."""

    def fall_behind(self, position: int) -> None:
        """Its frames from this serial on were dropped: it reads them from the log later."""


class Budget:
    """What all outboxes together may hold."""

    __slots__ = ("bytes_max", "overflows", "used_bytes")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.used_bytes = 0
        self.overflows = 0


class _Queued(NamedTuple):
    data: Buffer
    source: Source | None  # None: must be written
    position: int


class Outbox:
    __slots__ = (
        "_budget",
        "_bytes_max",
        "_is_direct",
        "_nursery",
        "_on_broken",
        "_progress",
        "_queue",
        "_stalled_s",
        "_unsent_bytes",
        "_writer",
        "control_bytes",
        "is_broken",
        "is_sealed",
        "queued_bytes",
        "sent_at",
    )

    def __init__(
        self,
        stream: Stream,
        settings: ServerSettings,
        budget: Budget,
        nursery: trio.Nursery,
        on_broken: Callable[[], None],
    ) -> None:
        self.queued_bytes = 0
        self.control_bytes = 0  # of which may not be dropped
        self.sent_at = trio.current_time()
        self.is_broken = False
        self.is_sealed = False
        self._writer = stream if isinstance(stream, TlsStream) else SocketWriter(stream.socket)
        self._unsent_bytes = 0  # of what is queued, how much the writer has already
        self._budget = budget
        self._bytes_max = settings.outbox_bytes_max
        self._stalled_s = settings.stalled_timeout_ms / 1000
        self._nursery = nursery
        self._on_broken = on_broken
        self._queue: deque[_Queued] | None = None  # exists while the flusher does
        self._progress: trio.Event | None = None  # exists while somebody waits
        self._is_direct = True  # nothing is queued

    def send(self, data: bytes) -> None:
        """A reply: never dropped."""
        if self._is_direct:
            sent = self._write(data)
            if sent == len(data):
                return
            self._enqueue(memoryview(data)[sent:], None, 0)
        else:
            self._enqueue(data, None, 0)

    def deliver(self, data: bytes, source: Source, position: int) -> None:
        """Channel traffic; `position` is the serial of its first record."""
        if self._is_direct:
            sent = self._write(data)
            if sent == len(data):
                return
            if sent:
                self._enqueue(memoryview(data)[sent:], None, 0)
                return
        self._enqueue(data, source, position)

    async def wait_below(self, size: int) -> None:
        """Return when less than `size` bytes are queued, or nothing will be written any more."""
        await trio.lowlevel.checkpoint()
        while self.queued_bytes >= size and not self.is_broken:
            if self._progress is None:
                self._progress = trio.Event()
            await self._progress.wait()

    def seal(self) -> None:
        """Take nothing more; what is queued is still written."""
        self.is_sealed = True
        self._is_direct = False

    def close(self) -> None:
        """Drop what is queued: nothing will be written any more."""
        self.seal()
        self.is_broken = True
        if self._queue is not None:
            self._queue.clear()
        self._settle(self.queued_bytes, self.control_bytes)

    def abort(self) -> None:
        """The same, and the connection with it."""
        if not self.is_broken:
            self.close()
            self._on_broken()

    def _write(self, data: bytes) -> int:
        """How much was taken, and needs no place in the queue."""
        writer = self._writer
        try:
            taken = writer.write(data)
        except OSError:
            self.abort()
            return len(data)
        self.sent_at = trio.current_time()
        if writer.unsent_bytes:
            self._begin_flushing()
            self._count_unsent()
        return taken

    def _enqueue(self, data: Buffer, source: Source | None, position: int) -> None:
        if self.is_sealed:
            return
        size = len(data)
        if source is None:
            self.control_bytes += size
        elif not self._has_room(size):
            self._drop_deliveries(source, position)
            return
        self.queued_bytes += size
        self._budget.used_bytes += size
        self._begin_flushing().append(_Queued(data, source, position))

    def _begin_flushing(self) -> deque[_Queued]:
        if self._queue is None:
            self._is_direct = False
            self._queue = deque()
            self._nursery.start_soon(self._flush, self._queue)
        return self._queue

    def _has_room(self, size: int) -> bool:
        """One frame always has, however large."""
        budget = self._budget
        return not self.queued_bytes or (
            self.queued_bytes + size <= self._bytes_max
            and budget.used_bytes + size <= budget.bytes_max
        )

    def _drop_deliveries(self, source: Source, position: int) -> None:
        """Everything that may be dropped is, and this delivery with it."""
        queue = self._queue or deque()
        behind: dict[Source, int] = {}
        for queued in queue:
            if queued.source is not None:
                behind.setdefault(queued.source, queued.position)
        behind.setdefault(source, position)
        replies = [queued for queued in queue if queued.source is None]
        queue.clear()
        queue.extend(replies)
        self._settle(self.queued_bytes - self.control_bytes, 0)
        self._budget.overflows += 1
        for one, first_position in behind.items():
            one.fall_behind(first_position)

    def _settle(self, size: int, control: int) -> None:
        """These bytes are no longer queued."""
        self.queued_bytes -= size
        self.control_bytes -= control
        self._budget.used_bytes -= size
        self._report_progress()

    def _report_progress(self) -> None:
        if self._progress is not None:
            self._progress.set()
            self._progress = None

    def _count_unsent(self) -> None:
        """The writer has more, or less, than before; none of it may be dropped."""
        sent = self._unsent_bytes - self._writer.unsent_bytes
        self._unsent_bytes -= sent
        self._settle(sent, sent)

    async def _flush(self, queue: deque[_Queued]) -> None:
        """The flusher's task: until the queue is empty."""
        writer = self._writer
        try:
            while (queue or writer.unsent_bytes) and not self.is_broken:
                with trio.move_on_after(self._stalled_s) as timeout:
                    await wait_writable(writer.socket)
                    self._write_queued(queue)
                if timeout.cancelled_caught:
                    self.abort()
        except (OSError, trio.ClosedResourceError):
            self.abort()
        self._queue = None
        self._is_direct = not self.is_sealed

    def _write_queued(self, queue: deque[_Queued]) -> None:
        if self.is_broken:
            return
        taken = self._writer.write_many(_chunk(queue))
        self.sent_at = trio.current_time()
        while taken:
            data, source, _ = queue.popleft()
            size = min(taken, len(data))
            self._settle(size, size if source is None else 0)
            if size < len(data):
                self._keep(queue, memoryview(data)[size:], source)
            taken -= size
        self._count_unsent()

    def _keep(self, queue: deque[_Queued], rest: memoryview, source: Source | None) -> None:
        """The rest of a frame that was partly written is no longer one that may be dropped."""
        queue.appendleft(_Queued(rest, None, 0))
        if source is not None:
            self.control_bytes += len(rest)


def _chunk(queue: deque[_Queued]) -> list[Buffer]:
    """As much from the front of the queue as is written at a time, but one frame at least."""
    chunk: list[Buffer] = []
    size = 0
    for data, _, _ in queue:
        size += len(data)
        if chunk and (size > CHUNK_BYTES or len(chunk) == CHUNK_BUFFERS):
            break
        chunk.append(data)
    return chunk
