"""Every error of the Matrix API, in one table, and its form: {"errcode", "error"}, always both.

Errors of the broker are mapped here, once. A request is checked in this order: credentials, rate,
JSON, missing fields, wrong fields, whether the pusher exists (reference push.md 2.4).
"""

import math
from enum import Enum, unique
from typing import Any, NamedTuple

from quart import Response, request

from api.application import Headers, json_reply
from broker.errors import BrokerError, Overloaded
from broker.push.registration import TooManyDevices, TooManyShare

NOT_SECURE = 40103
SOFT_RETRY_MS = 1_000


class Case(NamedTuple):
    status: int
    errcode: str


@unique
class Why(Enum):
    """docs/matrix.md says when each is the answer."""

    MISSING_TOKEN = Case(401, "M_MISSING_TOKEN")
    UNKNOWN_TOKEN = Case(401, "M_UNKNOWN_TOKEN")
    FORBIDDEN = Case(403, "M_FORBIDDEN")
    NOT_JSON = Case(400, "M_NOT_JSON")
    BAD_JSON = Case(400, "M_BAD_JSON")
    MISSING_PARAM = Case(400, "M_MISSING_PARAM")
    INVALID_PARAM = Case(400, "M_INVALID_PARAM")
    NOT_FOUND = Case(404, "M_NOT_FOUND")
    NO_SUCH_PATH = Case(404, "M_UNRECOGNIZED")
    NO_SUCH_METHOD = Case(405, "M_UNRECOGNIZED")
    TOO_LARGE = Case(413, "M_TOO_LARGE")
    LIMIT_EXCEEDED = Case(429, "M_LIMIT_EXCEEDED")
    UNKNOWN = Case(500, "M_UNKNOWN")


class MatrixError(BrokerError):
    """A refusal. `more`: what the body says beside errcode and error."""

    def __init__(self, why: Why, message: str, **more: Any) -> None:
        super().__init__(message, why.value.status * 100, why.value.status)
        self.why = why
        self.more = more


# Errors of the broker: by type, by code, then by status.
_OF_TYPE: dict[type[BrokerError], Why] = {
    TooManyDevices: Why.FORBIDDEN,
    TooManyShare: Why.FORBIDDEN,
}
_OF_CODE = {NOT_SECURE: Why.FORBIDDEN}
_OF_STATUS = {
    400: Why.INVALID_PARAM,
    401: Why.UNKNOWN_TOKEN,
    403: Why.FORBIDDEN,
    404: Why.NOT_FOUND,
    405: Why.NO_SUCH_METHOD,
    413: Why.TOO_LARGE,
}


def missing(*names: str) -> MatrixError:
    return MatrixError(Why.MISSING_PARAM, f"Missing parameters: {', '.join(names)}")


def invalid(message: str) -> MatrixError:
    return MatrixError(Why.INVALID_PARAM, message)


def too_often(retry_after_ms: int) -> MatrixError:
    return MatrixError(Why.LIMIT_EXCEEDED, "Too many requests", retry_after_ms=retry_after_ms)


def refuse(error: BrokerError, headers: Headers) -> Response:
    """An error as Matrix clients read it."""
    found = _as_matrix(error)
    case = found.why.value
    status = error.status if found.why is Why.UNKNOWN else case.status
    return json_reply(body_of(found), status, [*headers, *_headers(found)])


def body_of(error: BrokerError) -> dict[str, Any]:
    found = _as_matrix(error)
    return {"errcode": found.why.value.errcode, "error": found.message, **found.more}


def _as_matrix(error: BrokerError) -> MatrixError:
    if isinstance(error, MatrixError):
        return error
    if isinstance(error, Overloaded):
        wait_s = error.retry_after_s
        return too_often(SOFT_RETRY_MS if wait_s is None else int(wait_s * 1_000) + 1)
    if error.status == 404 and request.routing_exception is not None:
        return MatrixError(Why.NO_SUCH_PATH, "Unrecognized request")
    default = _OF_STATUS.get(error.status, Why.UNKNOWN)
    why = _OF_TYPE.get(type(error)) or _OF_CODE.get(error.code, default)
    return MatrixError(why, error.message)


def _headers(error: MatrixError) -> Headers:
    headers: Headers = []
    if error.why.value.status == 401:
        headers.append(("WWW-Authenticate", 'Bearer realm="tidelog"'))
    if error.why is Why.LIMIT_EXCEEDED:
        seconds = math.ceil(error.more["retry_after_ms"] / 1_000)
        headers.append(("Retry-After", str(seconds)))
    return headers
