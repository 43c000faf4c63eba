"""Who sent a request: finds the credentials it carries and has the broker check them.

Basic (`Authorization`, or `key=`) and token (`Bearer`, or `access_token=`) credentials; a header
wins over the query. An asserted `X-Ably-ClientId` counts with Basic credentials only (RSA7e2).
"""

from quart import request

from api.connection import connection_of
from api.request_counting import of_app
from broker import Broker
from broker.auth.credentials import Principal, read_basic, read_bearer, read_client_id
from broker.errors import Unauthorized

NO_CREDENTIALS = 40101


def authorization() -> tuple[str, str]:
    """The scheme, in small letters, and the credentials in the header of the current request."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower(), credentials.strip()


def authenticate(broker: Broker, token: str | None = None) -> Principal:
    """The caller of the current request, or of a `token` in it. Raises Unauthorized (reference
    2.2), Overloaded 42918, 42910."""
    principal = broker.authenticate(token=token) if token else _authenticated(broker)
    connection_of(request.scope).authenticated()
    of_app(principal.app_id)
    broker.epoch.rate_limits.request(principal.app_id, principal.key_name)
    return principal


def _authenticated(broker: Broker) -> Principal:
    scheme, value = authorization()
    match scheme:
        case "basic":
            return _by_key(broker, read_basic(value))
        case "bearer":
            return broker.authenticate(token=read_bearer(value))
        case "":
            return _by_query(broker)
        case _:
            raise Unauthorized("use Basic or Bearer authentication", NO_CREDENTIALS)


def _by_query(broker: Broker) -> Principal:
    key = request.args.get("key")
    if key:
        return _by_key(broker, key)
    token = request.args.get("access_token") or request.args.get("accessToken")
    return broker.authenticate(token=token)


def _by_key(broker: Broker, key: str) -> Principal:
    asserted = request.headers.get("X-Ably-ClientId")
    client_id = read_client_id(asserted) if asserted else None
    return broker.authenticate(key=key, client_id=client_id)
