"""Operations on Matrix pushers: which channels there are, what is encrypted, and a user's token."""

from typing import Any

import msgspec

from api.admin.operations.arguments import INVALID_ARGUMENTS, existing_app
from broker import Broker
from broker.auth import token_requests
from broker.auth.credentials import Key, check_client_id
from broker.errors import BadRequest
from broker.matrix.rules import Encryption, Status

TOKEN_TTL_S = 3_600
TOKEN_CAPABILITY = {"[*]*": ["push-subscribe"]}


async def show(broker: Broker, app: str | None = None) -> dict[str, Any]:
    """What an app allows: its channels in order, each with the status that a new pusher begins
    with, and the rules of encryption."""
    app = existing_app(broker, app)
    rules = broker.matrix.rules(app)
    return {
        "app": app,
        "channels": [{"id": id_, "status": status} for id_, status in rules.channels.items()],
        "encryption": rules.encryption,
        "encryptionOf": rules.encryption_of,
    }


async def set_channels(
    broker: Broker, channels: dict[str, Status], app: str | None = None
) -> dict[str, Any]:
    """The channels that there are from now on."""
    await broker.matrix.set_channels(existing_app(broker, app), channels)
    return await show(broker, app)


async def set_encryption(
    broker: Broker,
    rule: Encryption | None,
    app_id: str | None = None,
    app: str | None = None,
) -> dict[str, Any]:
    """The rule of an app_id, or of all that have none; None takes one back."""
    await broker.matrix.set_encryption(existing_app(broker, app), rule, app_id)
    return await show(broker, app)


async def token(
    broker: Broker, user: str, app: str | None = None, ttl_s: int = TOKEN_TTL_S
) -> dict[str, Any]:
    """A token with which a client is `user`, and may have pushers, and nothing else."""
    check_client_id(user)
    key = _issuing_key(broker, existing_app(broker, app))
    capability = msgspec.json.encode(TOKEN_CAPABILITY).decode()
    wanted = {"clientId": user, "ttl": ttl_s * 1_000, "capability": capability}
    request = token_requests.read(key.name, wanted)
    issued = await broker.issue_token(key.name, request, broker.authenticate(key=key.string))
    return {"token": issued.token, "user": user, "app": key.app_id, "expires": issued.expires_ms}


def _issuing_key(broker: Broker, app: str) -> Key:
    """The oldest that permits it."""
    for key in broker.apps.keys(app):
        if not key.revoked and key.capability.permits_somewhere("push-subscribe"):
            return key
    raise BadRequest(f"app {app!r} has no key that permits push-subscribe", INVALID_ARGUMENTS)
