"""A device as it is answered, and what tells it who it is."""

from typing import Any

import msgspec

from api.rest.push_resources import DeviceDetails
from api.rest.resources import plain
from broker import Broker
from broker.auth.credentials import Principal
from broker.push import identity
from broker.push.events import Device


def described(broker: Broker, principal: Principal, device: Device) -> dict[str, Any]:
    """As DeviceDetails, with nothing that SDKs do not know: they refuse what they do not."""
    push: dict[str, Any] = {
        "recipient": broker.push.recipient(principal.app_id, device),
        "state": device.state,
    }
    if device.error is not None:
        push["error"] = device.error
    details = {
        "id": device.id,
        "platform": device.platform,
        "formFactor": device.form_factor,
        "clientId": device.client_id,
        "metadata": device.metadata,
        "push": push,
        "modified": device.modified_ms,
    }
    named = {name: value for name, value in details.items() if value is not None}
    return dict(plain(msgspec.convert(named, DeviceDetails)))


def identity_token(broker: Broker, principal: Principal, device: Device) -> dict[str, Any]:
    """An object, of which SDKs read `token`."""
    app, _, key_id = principal.key_name.partition(".")
    key = broker.apps.key(app, key_id)
    assert key is not None, "the caller's credentials are of a key"
    issued = identity.identify(key, device, broker.time_ms())
    return {
        "token": issued.token,
        "keyName": issued.key_name,
        "issued": issued.issued_ms,
        "expires": issued.expires_ms,
        "capability": issued.capability,
        "deviceId": device.id,
        **({} if device.client_id is None else {"clientId": device.client_id}),
    }
