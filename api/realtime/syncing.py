"""SYNC: who is on a channel, told to one attachment in pages (RTP18; reference 3.10).

The first page is read at once, in the loop: most channels have no more. The rest of a large channel
is read page by page on the reading threads while live presence goes on; clients tell the two apart
by the age of each.
"""

from typing import Any

from api.realtime.attachment import Attachment
from api.realtime.protocol import Action
from api.realtime.wiring import Wiring
from broker import BrokerError, wire
from broker.presence import MembersPage, PresenceAction

FIRST_PAGE = 250
PAGE = 1_000
QUEUED_BYTES_MAX = 256 * 1024


def sync(wiring: Wiring, attachment: Attachment, position: int) -> None:
    """`position` names the sync: each has a name of its own."""
    app, channel = attachment.key
    page = wiring.broker.first_members(app, channel, FIRST_PAGE)
    sync_id = f"{position:x}"
    _send(wiring, attachment, sync_id, page)
    if page.next is not None:
        wiring.tasks.start_soon(_send_rest, wiring, attachment, sync_id, page.next)


async def _send_rest(
    wiring: Wiring, attachment: Attachment, sync_id: str, after: bytes | None
) -> None:
    app, channel = attachment.key
    while after is not None and not attachment.is_closed:
        await wiring.outbox.wait_below(QUEUED_BYTES_MAX)
        try:
            page = await wiring.broker.members(app, channel, after=after, limit=PAGE)
        except BrokerError:
            return  # the log is gone, and with it this process
        if not attachment.is_closed:
            _send(wiring, attachment, sync_id, page)
        after = page.next


def _send(wiring: Wiring, attachment: Attachment, sync_id: str, page: MembersPage) -> None:
    cursor = page.next.hex() if page.next is not None else ""
    message: dict[str, Any] = {
        "action": Action.SYNC,
        "channel": attachment.name,
        "channelSerial": f"{sync_id}:{cursor}",
        "presence": [
            wire.presence_to_wire(
                member.presence, PresenceAction.PRESENT, member.timestamp, binary=wiring.binary
            )
            for member in page.members
        ],
    }
    wiring.send(message)
