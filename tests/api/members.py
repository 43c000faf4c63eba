"""Presence as connections make it, for tests of what is read of it."""

from typing import Any

from broker.channels.presence import Change, ChangePresence, PresenceAction
from broker.messages.message import PresenceMessage
from tests.api.rest_server import RestServer


async def change(
    server: RestServer,
    action: PresenceAction,
    client_id: str,
    *,
    channel: str = "c",
    connection: str = "conn",
    **fields: Any,
) -> None:
    """What a connection's presence message comes to."""
    id_ = f"{connection}:{server.broker.log.position}:0"
    member = PresenceMessage(id=id_, client_id=client_id, connection_id=connection, **fields)
    command = ChangePresence(server.app, channel, connection, (Change(action, member),))
    await server.broker.submit(command, app=server.app)
