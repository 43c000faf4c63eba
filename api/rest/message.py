"""`/channels/{channel}/messages/{serial}`: a message, its versions, and changing it (RSL11, RSL14,
RSL15); reference 1.8.
"""

from typing import Annotated
from urllib.parse import unquote

from msgspec import Meta
from quart import Blueprint, Response, request

from api import parameters
from api.authentication import authenticate
from api.control import wanted
from api.formats import decode_body
from api.operation import operation
from api.paging import Links, links, page_limit
from api.parameters import Count, Params
from api.replies import reply
from api.rest.bodies import MessageChange, NewAnnotation
from api.rest.channel_segment import channel_of
from api.rest.resources import Annotation, ChangeResult, Message, PublishResult, plain
from api.settings import ServerSettings
from broker import Broker
from broker.messages import wire
from broker.messages.history import LIMIT_DEFAULT


class VersionsParams(Params, frozen=True, kw_only=True):
    limit: Annotated[Count, Meta(description="items of a page")] = LIMIT_DEFAULT
    cursor: Annotated[str | None, Meta(description="as links have it")] = None


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
        params=VersionsParams,
        answer=list[Message],
        is_paged=True,
    )
    async def versions(channel_id: str, serial: str) -> Response:
        channel = channel_of(channel_id)
        principal = authenticate(broker)
        given = parameters.read(VersionsParams, request.args)
        page = await broker.editor.versions(
            principal,
            channel,
            unquote(serial),
            after=given.cursor,
            limit=page_limit(given.limit, broker.settings.history_limit_max),
        )
        binary = wanted().format.binary
        answer = [wire.to_wire(found, binary=binary) for found in page.messages]
        return reply(answer, links=_links("versions", given, page.next))

    @blueprint.post("/channels/<channel_id>/messages/<serial>/annotations")
    @operation(
        "annotateMessage",
        "Annotate a message, or take annotations back",
        "Publishing",
        body=list[NewAnnotation],
        answer=PublishResult,
        status=201,
    )
    async def annotate(channel_id: str, serial: str) -> Response:
        channel, of = channel_of(channel_id), unquote(serial)
        principal = authenticate(broker)
        body = decode_body(await request.data, request.content_type, settings)
        serials = await broker.annotator.annotate(principal, channel, of, body)
        result = PublishResult(channel=channel, message_id=of, serials=list(serials))
        return reply(plain(result), 201)

    @blueprint.get("/channels/<channel_id>/messages/<serial>/annotations")
    @operation(
        "getAnnotations",
        "Annotations of a message, made and taken back, by pages",
        "History",
        params=VersionsParams,
        answer=list[Annotation],
        is_paged=True,
    )
    async def annotations(channel_id: str, serial: str) -> Response:
        channel, of = channel_of(channel_id), unquote(serial)
        principal = authenticate(broker)
        given = parameters.read(VersionsParams, request.args)
        limit = page_limit(given.limit, broker.settings.history_limit_max)
        page = await broker.annotator.annotations(
            principal, channel, of, after=given.cursor, limit=limit
        )
        binary = wanted().format.binary
        answer = [
            wire.annotation_to_wire(
                found.annotation, of, found.serial, found.timestamp, binary=binary
            )
            for found in page.annotations
        ]
        return reply(answer, links=_links("annotations", given, page.next))

    return blueprint


def _links(word: str, given: VersionsParams, following: str | None) -> Links:
    query = {"limit": given.limit}
    return links(
        word,
        query,
        {**query, "cursor": given.cursor},
        {**query, "cursor": following} if following else None,
    )
