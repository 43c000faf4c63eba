"""Matrix pushers, with and without encryption, and what is sent to them, in a few words."""

from typing import Any

from api.push.transports import Transports
from broker.push import key_chain
from broker.push.transport import MonthKey, Result
from tests.api.push.matrix_gateway import NOTIFY
from tests.api.push.rig import NOW_MS, Matrix, outgoing
from tests.broker.push.gematik_client import Phone

APP_ID, PUSHKEY, KEY_IDENTIFIER = "org.example.app", "a/push+key=", "456e7890-key"
MONTH = "2026-09"
PHONE = Phone(b"initial shared secret, 32 bytes!", "2026-07")
MONTH_KEY = MonthKey(MONTH, key_chain.advanced(key_chain.first(PHONE.iss, PHONE.month), MONTH).key)
DEVICE = {"app_id": APP_ID, "pushkey": PUSHKEY, "pushkey_ts": (NOW_MS - 60_000) // 1_000}


def plain(matrix: Matrix, **more: Any) -> dict[str, Any]:
    """At a Matrix gateway."""
    return {
        "transportType": "matrix",
        "url": matrix.gateway.url + NOTIFY,
        "appId": APP_ID,
        "pushkey": PUSHKEY,
        **more,
    }


def at_base(matrix: Matrix, **more: Any) -> dict[str, Any]:
    """At a gateway of gematik, without encryption."""
    return {**plain(matrix), "url": f"{matrix.gateway.url}{matrix.fake.base}/", **more}


def encrypted(matrix: Matrix, **more: Any) -> dict[str, Any]:
    matrix.fake.phones[KEY_IDENTIFIER] = PHONE
    return {**at_base(matrix), "encryption": {"keyIdentifier": KEY_IDENTIFIER}, **more}


async def send(
    transports: Transports,
    recipient: dict[str, Any],
    payload: dict[str, Any] | None = None,
    **more: Any,
) -> Result:
    if "encryption" in recipient:
        more = {"month_key": MONTH_KEY, **more}
    sent = outgoing(recipient, payload, **{"updated_ms": NOW_MS - 60_000, **more})
    return await transports.by_type["matrix"].send(sent)
