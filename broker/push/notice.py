"""A notification before it is accepted: who it is for, and whether it makes sense."""

from collections.abc import Mapping, Sequence
from typing import Any

from broker.errors import BadRequest
from broker.matrix import rules as matrix_rules
from broker.messages.extras import check_encodable
from broker.messages.message import json_text
from broker.push.events import MATRIX_CHANNELS, Selector
from storage import Rows

BYTES_MAX = 65_536  # of a notification, and of each part of a device
TOO_LARGE = 40009


def selector(
    device_id: str | None,
    client_id: str | None,
    channel: str | None,
    matrix_channel: str | None,
) -> Selector:
    """Raises BadRequest 40000 unless one is given; a Matrix channel may be narrowed to a client."""
    given = [one for one in (device_id, client_id, channel, matrix_channel) if one is not None]
    is_narrowed = matrix_channel is not None and client_id is not None
    if len(given) != 1 + is_narrowed or not all(given):
        raise BadRequest("a notification is for a device, a client, a channel or a Matrix channel")
    if matrix_channel is None:
        return Selector(channel=channel, device_id=device_id, client_id=client_id)
    clients = (client_id,) if client_id is not None else ()
    return Selector(topics=(matrix_channel,), space=MATRIX_CHANNELS, clients=clients)


def check(payload: dict[str, Any]) -> None:
    """Raises BadRequest 40000 for what cannot be stored, 40009 for what is too large."""
    if not payload:
        raise BadRequest("the notification is empty")
    check_fits(payload, "the notification")


def check_fits(value: Mapping[str, Any], what: str) -> None:
    """Raises BadRequest 40000 for what cannot be stored, 40009 for what is too large."""
    check_encodable(value)
    size = len(json_text(value, what, 40000))
    if size > BYTES_MAX:
        raise BadRequest(f"{what} has {size} bytes, the limit is {BYTES_MAX}", TOO_LARGE)


def check_channels(rows: Rows, app: str, selectors: Sequence[Selector]) -> None:
    """Raises BadRequest 40000 for a Matrix channel that the app has not."""
    wanted = {topic for one in selectors if one.space == MATRIX_CHANNELS for topic in one.topics}
    unknown = wanted - matrix_rules.rules(rows, app).channels.keys() if wanted else wanted
    if unknown:
        raise BadRequest(f"there is no Matrix channel {min(unknown)[:64]!r}")
