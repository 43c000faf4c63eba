"""SYNC: who is on a channel, told to one attachment in pages (RTP18; reference 3.10).

The first page is read at once, in the loop: most channels have no more. The rest of a large channel
is read page by page on the reading threads while live presence goes on; clients tell the two apart
by the age of each. What was read while nobody came or went is kept, as frames: when thousands of
clients come back to a channel of thousands, they are all told the same.
"""

from api.realtime.attachment import Attachment
from api.realtime.kept_syncs import Told
from api.realtime.protocol import Action, encode
from api.realtime.wiring import Wiring
from broker import BrokerError
from broker.channels.presence import MembersPage, PresenceAction
from broker.messages import wire

FIRST_PAGE = 250
PAGE = 1_000
QUEUED_BYTES_MAX = 256 * 1024


def sync(wiring: Wiring, attachment: Attachment) -> None:
    """Tell everybody who is there."""
    _Sync(wiring, attachment).begin()


class _Sync:
    def __init__(self, wiring: Wiring, attachment: Attachment) -> None:
        self._wiring = wiring
        self._attachment = attachment
        self._app, self._channel = attachment.key
        self._points = wiring.broker.epoch.attach_points
        self._serial = self._presence_serial()
        self._told = Told(self._app, attachment.name, wiring.binary)

    def begin(self) -> None:
        frames = self._wiring.syncs.find(self._told, self._serial)
        if frames:
            self._wiring.outbox.send(frames[0])
            if len(frames) > 1:
                self._wiring.tasks.start_soon(self._send, frames[1:])
            return
        page = self._wiring.broker.epoch.attach_points.first_members(
            self._app, self._channel, FIRST_PAGE
        )
        frame = self._frame(page)
        self._wiring.outbox.send(frame)
        if page.next is None:
            self._wiring.syncs.keep(self._told, self._serial, [frame])
        else:
            self._wiring.tasks.start_soon(self._read, [frame], page.next)

    async def _send(self, frames: list[bytes]) -> None:
        for frame in frames:
            await self._wiring.outbox.wait_below(QUEUED_BYTES_MAX)
            if not self._attachment.is_closed:
                self._wiring.outbox.send(frame)

    async def _read(self, frames: list[bytes], after: bytes | None) -> None:
        """Pages are read one after the other: they are one picture only if nothing changed."""
        broker = self._wiring.broker
        while after is not None and not self._attachment.is_closed:
            await self._wiring.outbox.wait_below(QUEUED_BYTES_MAX)
            try:
                page = await broker.members(self._app, self._channel, after=after, limit=PAGE)
            except BrokerError:
                return  # the log is gone, and with it this process
            frames.append(self._frame(page))
            await self._send(frames[-1:])
            after = page.next
        if after is None and self._presence_serial() == self._serial:
            self._wiring.syncs.keep(self._told, self._serial, frames)

    def _presence_serial(self) -> int:
        return self._points.presence_serial(self._app, self._channel)

    def _frame(self, page: MembersPage) -> bytes:
        cursor = page.next.hex() if page.next is not None else ""
        binary = self._wiring.binary
        members = [
            wire.presence_to_wire(
                member.presence, PresenceAction.PRESENT, member.timestamp, binary=binary
            )
            for member in page.members
        ]
        message = {
            "action": Action.SYNC,
            "channel": self._attachment.name,
            "channelSerial": f"{self._serial:x}:{cursor}",
            "presence": members,
        }
        return encode(message, binary=binary)
