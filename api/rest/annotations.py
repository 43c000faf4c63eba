"""`/channels/{channel}/messages/{serial}/annotations`: what clients say about a message (RSAN);
reference 1.9.
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
from api.rest.bodies import NewAnnotation
from api.rest.channel_segment import channel_of
from api.rest.resources import Annotation, PublishResult, plain
from api.settings import ServerSettings
from broker import Broker
from broker.messages import wire


def routes(broker: Broker, settings: ServerSettings) -> Blueprint:
    blueprint = Blueprint("annotations", __name__)

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
        params=PageParams,
        answer=list[Annotation],
        is_paged=True,
    )
    async def annotations(channel_id: str, serial: str) -> Response:
        channel, of = channel_of(channel_id), unquote(serial)
        principal = authenticate(broker)
        given = parameters.read(PageParams, request.args)
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
        return reply(
            answer,
            links=links_behind("annotations", {"limit": given.limit}, given.cursor, page.next),
        )

    return blueprint
