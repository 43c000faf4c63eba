"""Pushers, encryption and channels as clients send them: good ones, to be made bad one by one."""

from datetime import UTC
from typing import Any

from broker.clock import wall_clock
from broker.push.key_chain import month_at
from tests.api.matrix.asking import PUSHKEY

GATEWAY = "https://gateway.example.com/_matrix/push/v1/notify"
GEMATIK = "https://gateway.example.com/push/v1/"
APP_ID = "com.example.app.ios"
ISS = "f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b7605022da52e6ccc26fd2"
MONTH = month_at(wall_clock(), UTC)
CHANNELS = {"task": "disabled", "news": "enabled", "erp.eu.prescription.get": "not_set"}
AT_FIRST = {"task": "not_set", "news": "enabled", "erp.eu.prescription.get": "not_set"}


def pusher(pushkey: str = PUSHKEY, **fields: Any) -> dict[str, Any]:
    return {
        "kind": "http",
        "app_id": APP_ID,
        "pushkey": pushkey,
        "app_display_name": "Mat Rix",
        "device_display_name": "iPhone 9",
        "profile_tag": "xxyyzz",
        "lang": "en",
        "data": {"url": GATEWAY, "format": "event_id_only", "custom": {"n": [1, None]}},
        **fields,
    }


def without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def encryption(**fields: Any) -> dict[str, Any]:
    return {
        "method": "aes-hmac-sha256",
        "iss": ISS,
        "time_iss_created": MONTH,
        "key_identifier": "0b6d4d4a-1f38-4f5b-9f0e-0a4ac5b86a9c",
        **fields,
    }


def encrypted(pushkey: str = PUSHKEY, *, given: Any = None, **fields: Any) -> dict[str, Any]:
    """At a gateway that takes it."""
    wanted = encryption() if given is None else given
    return pusher(pushkey, data={"url": GEMATIK}, encryption=wanted, **fields)


def channels(**statuses: str) -> dict[str, Any]:
    return {"channels": [{"id": id_, "status": one} for id_, one in statuses.items()]}
