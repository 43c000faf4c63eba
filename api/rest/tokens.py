"""`/keys/{keyName}/...`: issue native tokens (RSA8), revoke tokens (RSA17); reference 1.12, 2.3.

A signed token request is its own credential, so whatever `Authorization` comes with it is ignored.
Revoking answers in two shapes: one result per target, or, for clients before version 3, a plain
array that fails as a whole when one target does.
"""

from typing import Any
from urllib.parse import unquote

from quart import Blueprint, Response, request
from werkzeug.exceptions import MethodNotAllowed

from api.authentication import authenticate
from api.connection import connection_of
from api.formats import decode_body
from api.parameters import version
from api.replies import error_headers, reply
from api.request_counting import of_app
from api.settings import ServerSettings
from broker import Broker
from broker.auth import revocation_requests, token_requests
from broker.auth.credentials import named_key, split_key_name
from broker.auth.revocation_requests import TargetResult
from broker.auth.tokens import TokenDetails
from broker.errors import BadRequest

BATCH_FAILED = 40020
PER_TARGET_RESULTS = 3


def routes(broker: Broker, settings: ServerSettings) -> Blueprint:
    blueprint = Blueprint("tokens", __name__)

    async def body() -> Any:
        return decode_body(await request.data, request.content_type, settings)

    @blueprint.get("/keys/<segment>/requestToken")
    async def refuse_get(segment: str) -> Response:
        """Whoever asks the wrong way learns first whether there is such a key."""
        _known_key_name(broker, segment)
        raise MethodNotAllowed(["POST"])

    @blueprint.post("/keys/<segment>/requestToken")
    async def request_token(segment: str) -> Response:
        key_name = _known_key_name(broker, segment)
        of_app(split_key_name(key_name)[0])
        wanted = token_requests.read(key_name, await body())
        caller = authenticate(broker) if wanted.mac is None else None
        details = await broker.issue_token(key_name, wanted, caller)
        connection_of(request.scope).authenticated()  # by its signature, if by nothing else
        return reply(_details(details), 201)

    @blueprint.post("/keys/<segment>/revokeTokens")
    async def revoke_tokens(segment: str) -> Response:
        caller = authenticate(broker)
        key_name = _known_key_name(broker, segment)
        wanted = revocation_requests.read(await body())
        results = await broker.revoke_tokens(caller, key_name, wanted)
        speaks = version(request.headers.get("X-Ably-Version"), request.args)
        return _batch(results) if speaks >= PER_TARGET_RESULTS else _legacy_batch(results)

    return blueprint


def _known_key_name(broker: Broker, segment: str) -> str:
    """The key that a path names. Raises NotFound 40400."""
    return named_key(broker.apps, unquote(segment, errors="replace")).name


def _details(details: TokenDetails) -> dict[str, Any]:
    fields = {
        "token": details.token,
        "keyName": details.key_name,
        "issued": details.issued_ms,
        "expires": details.expires_ms,
        "capability": details.capability,
        "clientId": details.client_id,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _batch(results: list[TargetResult]) -> Response:
    failures = sum(result.refusal is not None for result in results)
    answer = {
        "successCount": len(results) - failures,
        "failureCount": failures,
        "results": [_result(result) for result in results],
    }
    return reply(answer, 201)


def _legacy_batch(results: list[TargetResult]) -> Response:
    answers = [_result(result) for result in results]
    if not any(result.refusal for result in results):
        return reply(answers, 201)
    failed = BadRequest("some targets were refused", BATCH_FAILED)
    answer = {"error": failed.info, "batchResponse": answers}
    return reply(answer, failed.status, error_headers(failed))


def _result(result: TargetResult) -> dict[str, Any]:
    if result.revoked is None:
        assert result.refusal is not None
        return {"target": result.target, "error": result.refusal.info}
    return {
        "target": result.target,
        "issuedBefore": result.revoked.issued_before,
        "appliesAt": result.revoked.applies_at,
    }
