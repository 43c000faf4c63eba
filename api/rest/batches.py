"""How a request about many things is answered: a result for each, in one of two shapes.

From version 3 on a batch succeeds as a whole, with counts; before, and for who says no version, it
is a plain array that fails as a whole, with 40020, when anything in it did (reference 1.2, 1.10).
"""

from collections.abc import Sequence
from typing import Any

from quart import Response, request

from api import parameters
from api.replies import error_headers, reply
from api.rest.resources import error_of, plain
from broker.errors import BadRequest

BATCH_FAILED = 40020
COUNTED_SINCE = 3


def is_counted() -> bool:
    """Whether the client reads counts."""
    return parameters.version(request.headers.get("X-Ably-Version"), request.args) >= COUNTED_SINCE


def counted(results: Sequence[Any]) -> dict[str, Any]:
    """`results`: resources; one that failed has an `error`."""
    shown = plain(results)
    failures = sum("error" in result for result in shown)
    return {
        "successCount": len(shown) - failures,
        "failureCount": failures,
        "results": shown,
    }


def listed(results: Sequence[Any], status: int) -> Response:
    """The older shape."""
    shown = plain(results)
    if not any("error" in result for result in shown):
        return reply(shown, status)
    failed = BadRequest("Batched response includes errors", BATCH_FAILED)
    answer = {"error": plain(error_of(failed)), "batchResponse": shown}
    return reply(answer, failed.status, headers=error_headers(failed))
