"""Reading on for the attachments of one connection that are behind: resumed, rewound, or slow.

One task per connection, only while something is behind; the next page is read when the outbox is
empty, so that a client that wakes after a long time costs one page of memory (design.md 4). Few
connections read at a time, so that those that are live do not wait for those that are not.
"""

import logging

from api.realtime.attachment import Attachment
from api.realtime.wiring import Wiring
from broker import BrokerError

logger = logging.getLogger("tidelog.realtime")


class CatchingUp:
    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._behind: dict[Attachment, None] = {}
        self.is_running = False

    def add(self, attachment: Attachment) -> None:
        self._behind[attachment] = None
        if not self.is_running:
            self.is_running = True
            self._wiring.tasks.start_soon(self._run)

    def discard(self, attachment: Attachment) -> None:
        self._behind.pop(attachment, None)

    async def _run(self) -> None:
        try:
            while self._behind:
                await self._wiring.outbox.wait_below(1)
                if self._wiring.outbox.is_broken:
                    return
                await self._read_on()
        except BrokerError as error:
            logger.error("a subscriber cannot catch up: %s", error)
            self._wiring.outbox.abort()
        finally:
            self.is_running = False

    async def _read_on(self) -> None:
        """A page for the one that waits longest; it goes to the end of the line."""
        attachment = next(iter(self._behind), None)
        if attachment is None:
            return
        del self._behind[attachment]
        async with self._wiring.readers:
            more = await attachment.read_on()
        if more and not attachment.is_closed:
            self._behind[attachment] = None
