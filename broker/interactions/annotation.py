"""Annotations as clients make them: what they may say, and what each becomes (TAN; reference 1.9).

`type` is `namespace:method.version`; the method says how annotations are summed up
(broker.interactions.summaries). One without a method that we know is kept and told, and not summed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from broker.auth.credentials import Principal
from broker.errors import BadRequest, Unauthorized
from broker.events import Annotation
from broker.interactions.summaries import IDENTIFIED, NAMED, method_of
from broker.messages.extras import INVALID_EXTRAS, check_encodable
from broker.messages.message import INVALID_DATA, json_text
from broker.messages.payload_encoding import stored_payload
from broker.messages.publish import check_unicode

UNREADABLE = 40001
INVALID_VALUE = 40003
INVALID_ID = 40031
UNIDENTIFIED = 40161
TOO_LARGE = 40009
ANNOTATIONS_MAX = 100  # of one request
TEXT_CHARS_MAX = 1_024
COUNT_MAX = 1_000_000
CREATE, DELETE = 0, 1


class WireAnnotation(msgspec.Struct, rename="camel"):
    """As a client sends it (TAN2)."""

    action: int
    type: str
    id: str | None = None
    message_serial: str | None = None
    name: str | None = None
    count: int | None = None
    data: Any = None
    encoding: str | None = None
    client_id: str | None = None
    extras: dict[str, Any] | None = None


def read_annotations(
    items: Any, principal: Principal, connection: str | None, base: str, bytes_max: int
) -> tuple[list[Annotation], list[str | None]]:
    """What a request says, and the serial of the message that each names. `base`: begins the ids of
    those without one.

    Raises BadRequest: 40001 not an array of annotations; 40000 an action, a type, a name or a count
    that cannot be; 40012 clientId; 40013 data; 40031 ids; 40032 extras; 40009 (413) too large.
    Unauthorized 40161: nobody's, where it counts who says it.
    """
    if not isinstance(items, Sequence) or isinstance(items, str | bytes):
        raise BadRequest("annotations come in an array", UNREADABLE)
    if not 1 <= len(items) <= ANNOTATIONS_MAX:
        raise BadRequest(f"a request carries 1 to {ANNOTATIONS_MAX} annotations", UNREADABLE)
    given = [_typed(item) for item in items]
    _check_ids([one.id for one in given])
    read = [
        _annotation(one, principal, connection, one.id or f"{base}:{index}")
        for index, one in enumerate(given)
    ]
    size = sum(map(_size_bytes, read))
    if size > bytes_max:
        raise BadRequest(f"{size} bytes of annotations, the limit is {bytes_max}", TOO_LARGE, 413)
    return read, [one.message_serial for one in given]


def _typed(item: Any) -> WireAnnotation:
    if not isinstance(item, Mapping):
        raise BadRequest("an annotation must be an object", UNREADABLE)
    try:
        return msgspec.convert(item, WireAnnotation)
    except msgspec.ValidationError as error:
        raise BadRequest(f"annotation: {error}", UNREADABLE) from None


def _check_ids(ids: Sequence[str | None]) -> None:
    """One may be any; several are `<base>:<index>` by position, as those of a publish."""
    if all(id_ is None for id_ in ids):
        return
    base = (ids[0] or "").rpartition(":")[0]
    chosen = [f"{base}:{index}" for index in range(len(ids))]
    if not ids[0] or (len(ids) > 1 and list(ids) != chosen):
        raise BadRequest("ids of annotations must be <base>:<index>, counting from 0", INVALID_ID)


def _annotation(
    given: WireAnnotation, principal: Principal, connection: str | None, id_: str
) -> Annotation:
    if given.action not in (CREATE, DELETE):
        raise BadRequest("an annotation's action is 0 to make it, 1 to take it back")
    client_id = principal.identify(given.client_id)
    _check_texts(
        id=id_, type=given.type, name=given.name, encoding=given.encoding, clientId=client_id
    )
    _check_method(given, client_id)
    if given.extras is not None:
        check_encodable(given.extras)
    data, encoding = stored_payload(given.data, given.encoding)
    if isinstance(data, str):
        check_unicode(data, "data", INVALID_DATA)
    return Annotation(
        id=id_,
        action=given.action,
        type=given.type,
        name=given.name,
        count=given.count,
        data=data,
        encoding=encoding,
        client_id=client_id,
        connection_id=connection,
        extras=given.extras,
    )


def _check_texts(**texts: str | None) -> None:
    if not texts["type"]:
        raise BadRequest("an annotation needs a type")
    for field, text in texts.items():
        if text is not None and len(text) > TEXT_CHARS_MAX:
            raise BadRequest(f"{field} exceeds {TEXT_CHARS_MAX} characters")
        check_unicode(text or "", field, INVALID_VALUE)


def _check_method(given: WireAnnotation, client_id: str | None) -> None:
    method = method_of(given.type)
    if method in NAMED and not given.name:
        raise BadRequest(f"annotations by {method} need a name")
    if method in IDENTIFIED and client_id is None:
        raise Unauthorized(f"annotations by {method} need a clientId", UNIDENTIFIED)
    if given.count is not None and not 1 <= given.count <= COUNT_MAX:
        raise BadRequest(f"count must be between 1 and {COUNT_MAX}")


def _size_bytes(annotation: Annotation) -> int:
    parts = (annotation.type, annotation.name, annotation.client_id, annotation.data)
    extras = json_text(annotation.extras, "extras", INVALID_EXTRAS) if annotation.extras else ""
    return len(extras) + sum(
        len(part.encode() if isinstance(part, str) else part) for part in parts if part
    )
