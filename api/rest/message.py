"""`/channels/{channel}/messages/{serial}`: a message, its versions, and changing it (RSL11, RSL14,
RSL15); reference 1.8.
"""

from urllib.parse import unquote

from quart import Blueprint, Response, request

from api import parameters
from api.authentication import authenticate
from api.control import wanted
from api.formats import decode_body
from api.operation import operation
from api.paging import PageParams, links_behind, page_limit
from api.replies import reply
from api.rest.bodies import MessageChange
from api.rest.channel_segment import channel_of
from api.rest.resources import ChangeResult, Message, plain
from api.settings import ServerSettings
from broker import Broker
from broker.messages import wire


def routes(broker: Broker, settings: ServerSettings) -> Blueprint:
    blueprint = Blueprint("message", __name__)

    @blueprint.get("/channels/<channel_id>/messages/<serial>")
    @operation("getMessage", "A message as it stands", "History", answer=Message)
    async def message(channel_id: str, serial: str) -> Response:
        channel = channel_of(channel_id)
        principal = authenticate(broker)
        found = await broker.editor.message(principal, channel, unquote(serial))
        return reply(wire.to_wire(found, binary=wanted().format.binary))

    @blueprint.patch("/channels/<channel_id>/messages/<serial>")
    @operation(
        "changeMessage",
        "Update a message, delete it, or append to it",
        "Publishing",
        body=MessageChange,
        answer=ChangeResult,
    )
    async def change(channel_id: str, serial: str) -> Response:
        channel = channel_of(channel_id)
        principal = authenticate(broker)
        body = decode_body(await request.data, request.content_type, settings)
        given = wire.read_change(body, unquote(serial))
        version = await broker.editor.change(principal, channel, given)
        return reply(plain(ChangeResult(channel=channel, version_serial=version)))

    @blueprint.get("/channels/<channel_id>/messages/<serial>/versions")
    @operation(
        "getMessageVersions",
        "A message as it was published, then its versions, by pages",
        "History",
        params=PageParams,
        answer=list[Message],
        is_paged=True,
    )
    async def versions(channel_id: str, serial: str) -> Response:
        channel = channel_of(channel_id)
        principal = authenticate(broker)
        given = parameters.read(PageParams, request.args)
        page = await broker.editor.versions(
            principal,
            channel,
            unquote(serial),
            after=given.cursor,
            limit=page_limit(given.limit, broker.settings.history_limit_max),
        )
        binary = wanted().format.binary
        answer = [wire.to_wire(found, binary=binary) for found in page.messages]
        return reply(
            answer, links=links_behind("versions", {"limit": given.limit}, given.cursor, page.next)
        )

    return blueprint
