"""What a Matrix push gateway's answer means for each of those that it was asked about.

`rejected` lists pushkeys that are dead. It counts only for the pushkeys of this request: gateways
answer before they deliver, so they may list one of an earlier request, or even one that they were
never sent.

In a batch each item has a result of its own, found by its id, in any order. An item that is
`failed`, has an unknown status or has no result is tried again, and does not count as a failure of
the gateway.

Fault model: a user chooses the gateway, so its texts are not repeated anywhere, except the four
error texts that the API defines.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from api.push.outcome import DEAD_ADDRESS, NOT_ACCEPTED, REFUSED, UNAVAILABLE, by_status
from api.push.reply import RETRY_AFTER_MS_MAX, Reply
from broker.push.transport import SENT, Result

TOGETHER = frozenset({400, 413})  # may be said of a batch for one of its items
_BY_STATUS = {
    400: REFUSED,
    401: NOT_ACCEPTED,  # it wants a client certificate, or another
    403: NOT_ACCEPTED,
    404: UNAVAILABLE,  # gateways are redeployed
    405: UNAVAILABLE,
    408: UNAVAILABLE,
    413: REFUSED,
    425: UNAVAILABLE,
    429: UNAVAILABLE,
}
_ERRORS = frozenset(
    {
        "Invalid data format",
        "Batch size exceeds maximum limit",
        "Duplicate notification IDs in batch",
        "Individual notification too large",
    }
)
_TAKEN = ("success", "partial")

_NO_REPLY = UNAVAILABLE.result("the gateway answered 200, but not as a push gateway does")
_REJECTED = DEAD_ADDRESS.result("the gateway rejected the pushkey")
_FAILED = msgspec.structs.replace(
    UNAVAILABLE.result("the gateway failed to process this notification"), is_of_address=True
)
_UNTOLD = msgspec.structs.replace(
    UNAVAILABLE.result("the gateway did not say what became of this notification"),
    is_of_address=True,
)


def of_one(reply: Reply, pushkey: str, now_ms: int) -> Result:
    if reply.status != 200:
        return _refusal(reply, now_ms)
    rejected = reply.json().get("rejected")
    if not isinstance(rejected, list):
        return _NO_REPLY
    return _REJECTED if pushkey in rejected else SENT


def of_batch(reply: Reply, items: Sequence[tuple[str, str]], now_ms: int) -> list[Result]:
    """`items`: id and pushkey of each."""
    if reply.status != 200:
        return [_refusal(reply, now_ms)] * len(items)
    results = reply.json().get("results")
    if not isinstance(results, list):
        return [_NO_REPLY] * len(items)
    by_id = _by_id(results)
    return [_of_item(by_id.get(id_), pushkey) for id_, pushkey in items]


def _by_id(results: list[Any]) -> dict[str, dict[str, Any]]:
    """Of an id that comes twice, the first."""
    found: dict[str, dict[str, Any]] = {}
    for result in results:
        if isinstance(result, dict) and isinstance(result.get("id"), str):
            found.setdefault(result["id"], result)
    return found


def _of_item(result: dict[str, Any] | None, pushkey: str) -> Result:
    if result is None:
        return _UNTOLD
    rejected = result.get("rejected")
    if isinstance(rejected, list) and pushkey in rejected:
        return _REJECTED
    return SENT if result.get("status") in _TAKEN else _FAILED


def _refusal(reply: Reply, now_ms: int) -> Result:
    document = reply.json()
    said = f"the gateway answered {reply.status}"
    error = document.get("error")
    if isinstance(error, str) and error in _ERRORS:
        said += f": {error}"
    retry_ms = reply.retry_after_ms(now_ms)
    if retry_ms is None:
        retry_ms = _asked_ms(document.get("retry_after_ms"))
    return by_status(_BY_STATUS, reply.status).result(said, retry_ms)


def _asked_ms(value: object) -> int | None:
    """Of Matrix's own rate limit."""
    return min(value, RETRY_AFTER_MS_MAX) if type(value) is int and value >= 0 else None
