"""Who asks: the user whose token a request carries (reference push.md 2.8).

A token is an Ably token or a JWT of one client: that client is the user. It must permit
`push-subscribe` or `push-admin`. Refuses API keys, tokens for any client or for none, and tokens
that identify a device.

The requests of each user in a minute are limited; all of them may come at once.
"""

from typing import NamedTuple

import trio
from quart import request

from api.authentication import authenticate, authorization
from api.matrix.errors import MatrixError, Why, too_often
from broker import Broker
from broker.auth.credentials import TOKEN_EXPIRED, WILDCARD, Principal, read_bearer
from broker.errors import BadRequest, NotFound, Unauthorized
from broker.limits.buckets import Buckets

MINUTE_S = 60
USERS_MAX = 10_000  # whose requests are counted
CAPABILITIES = ("push-subscribe", "push-admin")


class User(NamedTuple):
    app: str
    id: str


class Callers:
    """`requests_max`: of one user in a minute; 0 is no limit."""

    def __init__(self, broker: Broker, requests_max: int) -> None:
        self._broker = broker
        self._per_s = requests_max / MINUTE_S
        self._buckets = Buckets(burst_s=MINUTE_S, buckets_max=USERS_MAX)

    def user(self) -> User:
        """Whose the current request is. Raises MatrixError."""
        principal = self._principal(_token())
        user = User(principal.app_id, _user_id(principal))
        if not any(principal.capability.permits_somewhere(name) for name in CAPABILITIES):
            raise MatrixError(Why.FORBIDDEN, "The token does not permit push-subscribe")
        if self._per_s:
            wait_s = self._buckets.try_take(user, 1, self._per_s, trio.current_time())
            if wait_s:
                raise too_often(int(wait_s * 1_000) + 1)
        return user

    def _principal(self, token: str) -> Principal:
        try:
            return authenticate(self._broker, token)
        except (Unauthorized, NotFound, BadRequest) as error:
            more = {"soft_logout": True} if error.code == TOKEN_EXPIRED else {}
            raise MatrixError(Why.UNKNOWN_TOKEN, error.message, **more) from None


def _token() -> str:
    scheme, value = authorization()
    if scheme == "bearer" and value:
        return read_bearer(value)
    token = None if scheme else request.args.get("access_token")
    if not token:
        raise MatrixError(Why.MISSING_TOKEN, "Missing access token")
    return token


def _user_id(principal: Principal) -> str:
    if principal.device_id is not None:
        raise MatrixError(Why.UNKNOWN_TOKEN, "The token is a device's")
    if principal.client_id in (None, WILDCARD):
        raise MatrixError(Why.UNKNOWN_TOKEN, "The token is of no user: it needs one clientId")
    return str(principal.client_id)
