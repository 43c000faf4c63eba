"""Publishing a body as it is (`enveloped=false`): the whole of it is the message's data.

What else a message has comes in headers (`X-Ably-Name`, …) or, where those are not there, in
parameters (reference 1.7.1).
"""

from typing import Annotated

from msgspec import Meta
from quart import request

from api import codec
from api.formats import UNSUPPORTED_TYPE, media_type
from api.parameters import Params
from api.settings import ServerSettings
from broker import Message
from broker.auth.credentials import read_client_id
from broker.errors import BadRequest
from broker.messages import wire
from broker.messages.message import INVALID_DATA

TEXT, BINARY, JSON = "text/plain", "application/octet-stream", "application/json"
TYPES = (TEXT, BINARY)  # besides what any route takes


def _in_header(name: str) -> Meta:
    return Meta(description=f"with enveloped=false, unless there is a header X-Ably-{name}")


class UnenvelopedParams(Params, frozen=True, kw_only=True):
    enveloped: Annotated[bool, Meta(description="false: the body is the data of a message")] = True
    message_id: Annotated[str | None, _in_header("MessageId")] = None
    name: Annotated[str | None, _in_header("Name")] = None
    connection_key: Annotated[str | None, _in_header("ConnectionKey")] = None
    encoding: Annotated[str | None, _in_header("Encoding")] = None
    client_id: Annotated[str | None, _in_header("ClientId, which is base64")] = None


def message(body: bytes, given: UnenvelopedParams, settings: ServerSettings) -> Message:
    """Raises BadRequest: 40001 a type of body that has no meaning here, 40012 a client id, 40013
    text or JSON that is none."""
    headers = request.headers
    data, implied = _data(body, settings)
    client_id = headers.get("X-Ably-ClientId")
    return wire.from_wire(
        {
            "id": headers.get("X-Ably-MessageId") or given.message_id,
            "name": headers.get("X-Ably-Name") or given.name,
            "connectionKey": headers.get("X-Ably-ConnectionKey") or given.connection_key,
            "clientId": read_client_id(client_id) if client_id else given.client_id,
            "encoding": headers.get("X-Ably-Encoding") or given.encoding or implied,
            "data": data,
        }
    )


def _data(body: bytes, settings: ServerSettings) -> tuple[str | bytes, str | None]:
    """The data, and the encoding that its type implies."""
    kind = media_type(request.content_type)
    if kind == BINARY:
        return body, None
    if kind == JSON:
        codec.decode_json(body, settings.json_depth_max)
        return body.decode(), "json"
    if kind != TEXT:
        reason = (
            f"without an envelope a body is {TEXT}, {BINARY} or {JSON}, not {kind or 'untyped'}"
        )
        raise BadRequest(reason, UNSUPPORTED_TYPE)
    try:
        return body.decode(), None
    except UnicodeDecodeError:
        raise BadRequest("the body is not UTF-8", INVALID_DATA) from None
