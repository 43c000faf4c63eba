"""`/keys/{keyName}/...`: issue native tokens (RSA8), revoke tokens (RSA17); reference 1.12, 2.3.

A signed token request is its own credential, so whatever `Authorization` comes with it is ignored.
Revoking answers a result for each target (`api.rest.batches`).
"""

from typing import Any
from urllib.parse import unquote

from msgspec import UNSET
from quart import Blueprint, Response, request
from werkzeug.exceptions import MethodNotAllowed

from api.authentication import authenticate
from api.connection import connection_of
from api.formats import decode_body
from api.operation import operation
from api.replies import reply
from api.request_counting import of_app
from api.rest import batches
from api.rest.bodies import RevocationRequest, SignedTokenRequest, TokenRequest
from api.rest.resources import RevocationResult, error_of, plain
from api.rest.resources import TargetResult as TargetOnWire
from api.rest.resources import TokenDetails as TokenOnWire
from api.settings import ServerSettings
from broker import Broker
from broker.auth import revocation_requests, token_requests
from broker.auth.credentials import named_key, split_key_name
from broker.auth.revocation_requests import TargetResult
from broker.auth.tokens import TokenDetails


def routes(broker: Broker, settings: ServerSettings) -> Blueprint:
    blueprint = Blueprint("tokens", __name__)

    async def body() -> Any:
        return decode_body(await request.data, request.content_type, settings)

    @blueprint.get("/keys/<key_name>/requestToken")
    @operation(
        "refuseToRequestAccessToken",
        "Tokens are requested by POST; this tells whether there is such a key",
        "Authentication",
        status=405,
        is_public=True,
    )
    async def refuse_get(key_name: str) -> Response:
        """Whoever asks the wrong way learns first whether there is such a key."""
        _known_key_name(broker, key_name)
        raise MethodNotAllowed(["POST"])

    @blueprint.post("/keys/<key_name>/requestToken")
    @operation(
        "requestAccessToken",
        "A token of a key: signed requests need no other credentials",
        "Authentication",
        body=(TokenRequest, SignedTokenRequest),
        answer=TokenOnWire,
        status=201,
    )
    async def request_token(key_name: str) -> Response:
        named = _known_key_name(broker, key_name)
        of_app(split_key_name(named)[0])
        wanted = token_requests.read(named, await body())
        rate_limits, app = broker.epoch.rate_limits, split_key_name(named)[0]
        if wanted.mac is None:
            caller = authenticate(broker)
        else:  # strangers know names of keys: only what was signed counts
            caller = None
            rate_limits.check_request(app, named)
        details = await broker.issue_token(named, wanted, caller)
        if caller is None:
            rate_limits.took_request(app, named)
        connection_of(request.scope).authenticated()  # by its signature, if by nothing else
        return reply(_details(details), 201)

    @blueprint.post("/keys/<key_name>/revokeTokens")
    @operation(
        "revokeTokens",
        "Refuse tokens of a key before they expire",
        "Authentication",
        body=RevocationRequest,
        answer=(RevocationResult, list[TargetOnWire]),
        status=201,
    )
    async def revoke_tokens(key_name: str) -> Response:
        caller = authenticate(broker)
        named = _known_key_name(broker, key_name)
        wanted = revocation_requests.read(await body())
        results = await broker.revoke_tokens(caller, named, wanted)
        answers = [_result(result) for result in results]
        if batches.is_counted():
            return reply(batches.counted(answers), 201)
        return batches.listed(answers, 201)

    return blueprint


def _known_key_name(broker: Broker, segment: str) -> str:
    """The key that a path names. Raises NotFound 40400."""
    return named_key(broker.apps, unquote(segment, errors="replace")).name


def _details(details: TokenDetails) -> dict[str, Any]:
    issued = TokenOnWire(
        token=details.token,
        key_name=details.key_name,
        issued=details.issued_ms,
        expires=details.expires_ms,
        capability=details.capability,
        client_id=UNSET if details.client_id is None else details.client_id,
    )
    return dict(plain(issued))


def _result(result: TargetResult) -> TargetOnWire:
    if result.revoked is None:
        assert result.refusal is not None
        return TargetOnWire(target=result.target, error=error_of(result.refusal))
    return TargetOnWire(
        target=result.target,
        issued_before=result.revoked.issued_before,
        applies_at=result.revoked.applies_at,
    )
