"""Who asks about push: as for any route, or a device by what only it has (reference push.md 3.2).

A device token is a token, and may come as one; in `X-Ably-DeviceToken` it needs no other
credentials beside it. A device secret does: it says which device a client is that is known already.
"""

import hmac

import msgspec
from quart import request

from api.authentication import authenticate
from broker import Broker
from broker.auth.credentials import Principal
from broker.push.identity import is_admin

TOKEN, SECRET = "X-Ably-DeviceToken", "X-Ably-DeviceSecret"


def caller(broker: Broker, device_id: str | None = None) -> Principal:
    """`device_id`: the device that the request is about, if its path says so."""
    return identified(broker, authenticate(broker, token=request.headers.get(TOKEN)), device_id)


def identified(broker: Broker, principal: Principal, device_id: str | None) -> Principal:
    """The caller, as the device that the request is about if it has its secret: for routes that
    learn which one it is from what they may read only when they know who asks."""
    secret = request.headers.get(SECRET)
    if secret and device_id and principal.device_id is None and not is_admin(principal):
        return _as_device(broker, principal, device_id, secret)
    return principal


def _as_device(broker: Broker, principal: Principal, device_id: str, secret: str) -> Principal:
    device = broker.push.device(principal.app_id, device_id)
    known = broker.push.secret(principal.app_id, device) if device else None
    if device is None or known is None or not _same(secret, known):
        return principal
    return msgspec.structs.replace(principal, device_id=device.id, token_id=device.token_id)


def _same(given: str, ours: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), ours.encode())
