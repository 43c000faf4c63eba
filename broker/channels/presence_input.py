"""Presence messages as clients send them: decoded maps in, changes to decide out (RTP8-RTP10)."""

from collections.abc import Mapping, Sequence
from typing import Any

from broker.auth.credentials import INVALID_CLIENT_ID, WILDCARD, Principal
from broker.channels.presence import Change, PresenceAction
from broker.errors import BadRequest
from broker.messages.extras import INVALID_EXTRAS
from broker.messages.message import Message, PresenceMessage, json_text
from broker.messages.payload_encoding import stored_payload
from broker.messages.publish import TOO_LARGE, size_bytes
from broker.messages.wire import UNDECODABLE_BODY

UNIDENTIFIED = 91000
CHANGES_MAX = 1_000
_ID_CHARS_MAX = 1_024
_TAKEN = {
    PresenceAction.PRESENT: PresenceAction.ENTER,
    PresenceAction.ENTER: PresenceAction.ENTER,
    PresenceAction.LEAVE: PresenceAction.LEAVE,
    PresenceAction.UPDATE: PresenceAction.UPDATE,
}


def read_presence(
    items: Sequence[Any],
    principal: Principal,
    connection: str,
    msg_serial: int,
    bytes_max: int,
) -> tuple[Change, ...]:
    """Raises BadRequest: 40001 not presence messages; 91000 nobody; 40012 somebody else; 40013
    data; 40032 extras; 40009 (status 413) too large."""
    if not 0 < len(items) <= CHANGES_MAX:
        raise BadRequest(f"a message carries 1 to {CHANGES_MAX} presence messages")
    found = tuple(
        _change(fields, principal, connection, f"{connection}:{msg_serial}:{index}")
        for index, fields in enumerate(items)
    )
    size = sum(_size_bytes(change.presence) for change in found)
    if size > bytes_max:
        raise BadRequest(
            f"presence too large: {size} bytes, the limit is {bytes_max}", TOO_LARGE, 413
        )
    return found


def _change(fields: object, principal: Principal, connection: str, implied_id: str) -> Change:
    if not isinstance(fields, Mapping):
        raise BadRequest("a presence message must be an object", UNDECODABLE_BODY)
    action = fields.get("action", PresenceAction.ENTER)
    if not isinstance(action, int) or isinstance(action, bool) or action not in _TAKEN:
        raise BadRequest("a presence message must enter, update or leave")
    data, encoding = stored_payload(fields.get("data"), _text(fields, "encoding"))
    presence = PresenceMessage(
        id=_text(fields, "id") or implied_id,
        client_id=_client_id(fields, principal),
        connection_id=connection,
        data=data,
        encoding=encoding,
        extras=_extras(fields),
    )
    return Change(_TAKEN[PresenceAction(action)], presence)


def _client_id(fields: Mapping[str, Any], principal: Principal) -> str:
    """RTP8j, RTP14: that of the connection, or one that it may speak for."""
    claimed = fields.get("clientId")
    if claimed is None and principal.client_id in (None, WILDCARD):
        raise BadRequest("presence needs a clientId", UNIDENTIFIED)
    found = principal.identify(claimed)
    if found is None:
        raise BadRequest("presence needs a clientId", INVALID_CLIENT_ID)
    return found


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > _ID_CHARS_MAX):
        raise BadRequest(f"{name} must be a string of at most {_ID_CHARS_MAX} characters")
    return value


def _extras(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    extras = fields.get("extras")
    if extras is None:
        return None
    if not isinstance(extras, dict):
        raise BadRequest("extras must be an object", INVALID_EXTRAS)
    json_text(extras, "extras", INVALID_EXTRAS)
    return extras


def _size_bytes(presence: PresenceMessage) -> int:
    return size_bytes(
        Message(data=presence.data, client_id=presence.client_id, extras=presence.extras)
    )
