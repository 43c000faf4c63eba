"""Who a device is: the token that it gets when it is registered, and what that is good for.

It is a native token (broker.auth.tokens) that names the device. It works for as long as the device
is registered and has not been given another, and for nothing but the device's own affairs.
"""

from broker import randomness
from broker.auth import capability, tokens
from broker.auth.credentials import Key, Principal
from broker.auth.tokens import Claims, TokenDetails
from broker.errors import NotFound, Unauthorized
from broker.push.events import Device

LIFETIME_MS = 100 * 365 * 24 * 3_600_000
OPERATIONS = ("push-admin", "push-subscribe")
NOT_PERMITTED = 40160


def identify(key: Key, device: Device, now_ms: int) -> TokenDetails:
    """The token of a device that says it has this token_id."""
    granted = capability.intersect(capability.parse({"[*]*": list(OPERATIONS)}), key.capability)
    claims = Claims(
        key_id=key.key_id,
        issued_ms=now_ms,
        expires_ms=now_ms + LIFETIME_MS,
        capability=str(granted),
        token_id=device.token_id,
        client_id=device.client_id,
        device_id=device.id,
    )
    return tokens.issue(key, claims)


def new_token_id() -> str:
    return randomness.new_id()


def is_admin(principal: Principal) -> bool:
    return principal.device_id is None and principal.capability.permits_somewhere("push-admin")


def require_admin(principal: Principal) -> None:
    """Raises Unauthorized 40160."""
    if not is_admin(principal):
        raise Unauthorized("the credentials do not permit 'push-admin'", NOT_PERMITTED)


def require_own(principal: Principal, device: Device | None, id_: str) -> None:
    """Raises Unauthorized 40160 unless the caller may do something about this device: as an admin,
    as the device itself, or as the client whose it is. `device`: None if there is none."""
    if is_admin(principal) or is_device(principal, device):
        return
    is_clients = device is None or _is_client(principal, device.client_id)
    may = principal.capability.permits_somewhere("push-subscribe")
    if principal.device_id is None and is_clients and may:
        return
    raise Unauthorized(f"the credentials are not for device {id_[:64]!r}", NOT_PERMITTED)


def is_device(principal: Principal, device: Device | None) -> bool:
    """Whether the caller identified itself as this device, and still may."""
    return (
        device is not None
        and principal.device_id == device.id
        and principal.token_id == device.token_id
    )


def require_client(principal: Principal, client_id: str | None) -> None:
    """Raises Unauthorized 40160 unless the caller is an admin, or this client."""
    if is_admin(principal):
        return
    may = principal.capability.permits_somewhere("push-subscribe")
    if principal.device_id is not None or not may or not _is_client(principal, client_id):
        raise Unauthorized("the credentials are not for this client's devices", NOT_PERMITTED)


def owner(principal: Principal, client_id: str | None) -> str | None:
    """Whose a device is that the caller registers as `client_id`'s: his own where that is not said
    (ably-js says it only where its options do). Nobody's where nobody knows who he is, and from
    then on its token alone is good for it. Raises Unauthorized 40160."""
    if is_admin(principal):
        return client_id
    if client_id is None and principal.kind != "key" and principal.device_id is None:
        return None if principal.client_id == "*" else principal.client_id
    require_client(principal, client_id)
    return client_id


def _is_client(principal: Principal, client_id: str | None) -> bool:
    """A key may speak for anybody; a token for its own client."""
    if principal.kind == "key" and principal.client_id is None:
        return True
    return client_id is not None and principal.client_id in (client_id, "*")


def known(device: Device | None) -> Device:
    """Raises NotFound 40400."""
    if device is None:
        raise NotFound("there is no such device")
    return device
