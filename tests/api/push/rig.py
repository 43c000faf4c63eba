"""Strict gateways with the transports that were built to speak to them, from settings and files.

Everything a transport would do in production is done here: key files are read, TLS is verified
against an authority that the settings name, addresses are guarded. Only the clock is the test's.
"""

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from api.push.settings import PushSettings
from api.push.transports import Transports, build_transports
from broker.push.transport import Outgoing
from tests.api.push.apns_gateway import ApnsGateway
from tests.api.push.authority import Authority
from tests.api.push.fcm_gateway import FcmGateway
from tests.api.push.http_gateway import Gateway, serving
from tests.api.push.matrix_gateway import MatrixGateway
from tests.api.push.push_service import PushService

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
KEY_ID, TEAM_ID, TOPIC = "KEY4567890", "TEAM567890", "org.example.app"
PROJECT, CLIENT_EMAIL, ACCOUNT_KEY_ID = "tide", "sender@tide.example", "account-key-1"
DEVICE_TOKEN = "a1" * 32
FCM_TOKEN = "fcm-registration:token"
ID = "00112233445566778899aabbccddeeff"
HELLO = {"notification": {"title": "Hello", "body": "World"}, "data": {"n": 7}}


class Now:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def __call__(self) -> int:
        return self.ms

    def pass_minutes(self, minutes: float) -> None:
        self.ms += int(minutes * 60_000)


@dataclass(frozen=True)
class Keys:
    apns: ec.EllipticCurvePrivateKey
    account: rsa.RSAPrivateKey


@functools.cache
def kept_keys() -> Keys:
    """Made once: an RSA key takes a while."""
    return new_keys()


def new_keys() -> Keys:
    return Keys(ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65_537, 2_048))


def pem(key: Any) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def outgoing(recipient: dict[str, Any], payload: dict[str, Any] | None = None, **more: Any) -> Any:
    fields = {"id": ID, "app": "app", "expires_ms": NOW_MS + HOUR_MS, **more}
    return Outgoing(recipient=recipient, payload=HELLO if payload is None else payload, **fields)


@dataclass
class Apns:
    fake: ApnsGateway
    gateway: Gateway
    settings: dict[str, Any]


@asynccontextmanager
async def apns_gateway(
    directory: Path, keys: Keys, trusted: Authority, now: Now
) -> AsyncIterator[Apns]:
    key_file = directory / "AuthKey.p8"
    key_file.write_text(pem(keys.apns))
    fake = ApnsGateway(keys.apns.public_key(), KEY_ID, TEAM_ID, (TOPIC,), now)
    async with serving(fake.handle, trusted.server_context("h2")) as gateway:
        settings = {
            "apns_key_file": str(key_file),
            "apns_key_id": KEY_ID,
            "apns_team_id": TEAM_ID,
            "apns_topic": TOPIC,
            "apns_url": gateway.url,
            "ca_file": str(trusted.ca_file),
        }
        yield Apns(fake, gateway, settings)


@dataclass
class Fcm:
    fake: FcmGateway
    gateway: Gateway
    settings: dict[str, Any]


def write_account(path: Path, keys: Keys, **changed: Any) -> None:
    account = {
        "type": "service_account",
        "project_id": PROJECT,
        "client_email": CLIENT_EMAIL,
        "private_key": pem(keys.account),
        "private_key_id": ACCOUNT_KEY_ID,
        **changed,
    }
    path.write_bytes(msgspec.json.encode(account))


@asynccontextmanager
async def fcm_gateway(
    directory: Path, keys: Keys, trusted: Authority, now: Now
) -> AsyncIterator[Fcm]:
    account_file = directory / "account.json"
    fake = FcmGateway(keys.account.public_key(), ACCOUNT_KEY_ID, CLIENT_EMAIL, PROJECT, now)
    async with serving(fake.handle, trusted.server_context("h2", "http/1.1")) as gateway:
        fake.url = gateway.url
        write_account(account_file, keys, token_uri=fake.token_url)
        settings = {
            "fcm_service_account_file": str(account_file),
            "fcm_url": gateway.url,
            "ca_file": str(trusted.ca_file),
        }
        yield Fcm(fake, gateway, settings)


@dataclass
class Web:
    fake: PushService
    gateway: Gateway
    settings: dict[str, Any]


@asynccontextmanager
async def push_service(trusted: Authority, now: Now) -> AsyncIterator[Web]:
    fake = PushService(now)
    async with serving(fake.handle, trusted.server_context("h2", "http/1.1")) as gateway:
        fake.url = gateway.url
        settings = {"allow_loopback_targets": True, "ca_file": str(trusted.ca_file)}
        yield Web(fake, gateway, settings)


@dataclass
class Matrix:
    fake: MatrixGateway
    gateway: Gateway
    settings: dict[str, Any]


@asynccontextmanager
async def matrix_gateway(trusted: Authority, *alpn: str) -> AsyncIterator[Matrix]:
    fake = MatrixGateway()
    async with serving(
        fake.handle, trusted.server_context(*(alpn or ("h2", "http/1.1")))
    ) as gateway:
        settings = {"allow_loopback_targets": True, "ca_file": str(trusted.ca_file)}
        yield Matrix(fake, gateway, settings)


@asynccontextmanager
async def built(settings: dict[str, Any], data: Path, now: Now) -> AsyncIterator[Transports]:
    async with build_transports(PushSettings(**settings), data, clock=now) as transports:
        yield transports
