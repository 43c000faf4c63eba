"""Builds the transports that the configuration asks for, one for each kind of recipient.

    apns          with apns_key_file, apns_key_id, apns_team_id and apns_topic
    fcm, gcm      with fcm_service_account_file; one transport for both names
    web, webhook  always: Web Push makes its key when there is none
    matrix        always; its gateways only those of matrix_gateways, if there are any
    beams…        always: what instances of Beams are told, in SUCCESS_S

What is not configured is there too, and answers that it is MISCONFIGURED and what to set. Whoever
builds them closes them. Files are read now: what is wrong with one is a ConfigError at the start,
not a notification that fails.
"""

import ssl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from api.config.errors import ConfigError
from api.push import beams_webhook, key_files, vapid
from api.push.apns import Apns, ApnsSettings
from api.push.beams_webhook import BeamsWebhook
from api.push.client import REPLY_BYTES_MAX, Client, Limits
from api.push.fcm import Fcm, FcmSettings
from api.push.guard import Guard, Resolver, system_resolver
from api.push.matrix import Matrix
from api.push.matrix_target import Gateways
from api.push.provider_token import ApnsIdentity
from api.push.settings import PushSettings
from api.push.vapid import Vapid
from api.push.web_push import WebPush
from api.push.webhook import Webhook
from broker.clock import Clock, wall_clock
from broker.push.transport import NOT_CONFIGURED, Outgoing, Result, Transport, Verdict

MATRIX_REPLY_BYTES_MAX = 512 * 1024  # a hundred results, each with a pushkey in escapes
_APNS_TOGETHER = ("apns_key_file", "apns_key_id", "apns_team_id", "apns_topic")


class NotConfigured:
    """Stands in for a transport that is not configured."""

    def __init__(self, transport_type: str, advice: str) -> None:
        self._transport_type = transport_type
        self._message = f"{transport_type} is not configured: {advice}"

    def endpoint(self, outgoing: Outgoing) -> str:
        return self._transport_type

    async def send(self, outgoing: Outgoing) -> Result:
        return Result(verdict=Verdict.MISCONFIGURED, code=NOT_CONFIGURED, message=self._message)


class Transports:
    """by_type: a transport for every `transportType`. guard: what looks at a target, for whoever
    registers one; gateways: at one of Matrix. public_vapid_key: what browsers subscribe to,
    base64url."""

    def __init__(
        self,
        by_type: Mapping[str, Transport],
        guard: Guard,
        gateways: Gateways,
        public_vapid_key: str,
        clients: tuple[Client, ...],
    ) -> None:
        self.by_type = by_type
        self.guard = guard
        self.gateways = gateways
        self.public_vapid_key = public_vapid_key
        self._clients = clients

    def is_configured(self, transport_type: str) -> bool:
        """Whether notifications can leave by this transport at all."""
        transport = self.by_type.get(transport_type)
        return transport is not None and not isinstance(transport, NotConfigured)

    async def __aenter__(self) -> "Transports":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        for client in self._clients:
            await client.aclose()


def build_transports(
    settings: PushSettings,
    data: Path,
    *,
    clock: Clock = wall_clock,
    resolve: Resolver | None = None,
) -> Transports:
    """`data`: where the VAPID key is kept. `resolve`: names, otherwise than the system does. Raises
    ConfigError."""
    return _Builder(settings, clock, resolve).build(data)


def public_vapid_key(settings: PushSettings, data: Path) -> str:
    """What browsers subscribe to, of a server with these settings. Raises ConfigError."""
    return Vapid(_vapid_key(settings, data), settings.vapid_subject, wall_clock).public_key


class _Builder:
    def __init__(self, settings: PushSettings, clock: Clock, resolve: Resolver | None) -> None:
        self._settings = settings
        self._clock = clock
        self._resolve = resolve
        self._guard = Guard(allow_loopback=settings.allow_loopback_targets, resolve=resolve)
        self._gateways = Gateways(
            settings.matrix_gateways,
            allow_loopback=settings.allow_loopback_targets,
            resolve=resolve,
        )
        self._clients: list[Client] = []
        self._limits = Limits(
            connect_s=settings.connect_timeout_ms / 1_000,
            total_s=settings.total_timeout_ms / 1_000,
            connections_max=settings.connections_max,
        )
        self._trust = _trust(settings)

    def build(self, data: Path) -> Transports:
        signer = Vapid(_vapid_key(self._settings, data), self._settings.vapid_subject, self._clock)
        fcm = self._fcm()
        guarded = self._client(self._guard)
        hooks = self._client(self._guard, total_s=beams_webhook.SUCCESS_S)
        by_type: dict[str, Transport] = {
            "apns": self._apns(),
            "fcm": fcm,
            "gcm": fcm,
            "web": WebPush(signer, guarded, self._guard, self._clock),
            "webhook": Webhook(guarded, self._guard, self._clock),
            "matrix": Matrix(self._matrix_client(), self._gateways, self._clock),
            beams_webhook.WEBHOOK: BeamsWebhook(hooks, self._guard, beams_webhook.configured),
            beams_webhook.PUBLISH_HOOK: BeamsWebhook(hooks, self._guard, beams_webhook.of_publish),
        }
        return Transports(
            by_type, self._guard, self._gateways, signer.public_key, tuple(self._clients)
        )

    def _apns(self) -> Transport:
        given = [name for name in _APNS_TOGETHER if getattr(self._settings, name)]
        if not given:
            return NotConfigured("apns", f"set push.{', push.'.join(_APNS_TOGETHER)}")
        if len(given) < len(_APNS_TOGETHER):
            raise ConfigError(f"push: {', '.join(_APNS_TOGETHER)} go together: give all, or none")
        path = Path(self._settings.apns_key_file)
        identity = ApnsIdentity(
            key_id=self._settings.apns_key_id,
            team_id=self._settings.apns_team_id,
            key=key_files.p256_key("push.apns_key_file", path),
        )
        settings = ApnsSettings(
            url=self._settings.apns_url.rstrip("/"),
            topic=self._settings.apns_topic,
            identity=identity,
        )
        return Apns(settings, self._client(http1=False), self._clock)

    def _fcm(self) -> Transport:
        if not self._settings.fcm_service_account_file:
            return NotConfigured("fcm", "set push.fcm_service_account_file")
        path = Path(self._settings.fcm_service_account_file)
        account = key_files.service_account("push.fcm_service_account_file", path)
        settings = FcmSettings(
            url=self._settings.fcm_url.rstrip("/"),
            account=account.with_token_url(self._settings.fcm_token_url),
        )
        return Fcm(settings, self._client(), self._clock)

    def _matrix_client(self) -> Client:
        """The certificate is shown to these gateways only."""
        path = self._settings.matrix_client_cert_file
        trust = _trust(self._settings) if path else self._trust
        if path:
            _present_certificate(trust, path)
        return self._client(
            self._gateways.guard, trust=trust, reply_bytes_max=MATRIX_REPLY_BYTES_MAX
        )

    def _client(
        self,
        guard: Guard | None = None,
        *,
        trust: ssl.SSLContext | None = None,
        total_s: float | None = None,
        reply_bytes_max: int = REPLY_BYTES_MAX,
        http1: bool = True,
    ) -> Client:
        limits = replace(self._limits, reply_bytes_max=reply_bytes_max)
        if total_s is not None:
            limits = replace(limits, connect_s=min(limits.connect_s, total_s), total_s=total_s)
        addresses = guard.addresses if guard else self._resolve or system_resolver()
        client = Client(limits, trust or self._trust, addresses, http1=http1)
        self._clients.append(client)
        return client


def _vapid_key(settings: PushSettings, data: Path) -> EllipticCurvePrivateKey:
    if settings.vapid_key_file:
        return key_files.p256_key("push.vapid_key_file", Path(settings.vapid_key_file))
    return vapid.kept_key("push.vapid_key_file", data)


def _trust(settings: PushSettings) -> ssl.SSLContext:
    """The authorities of certifi, or those of SSL_CERT_FILE or SSL_CERT_DIR; and ca_file's."""
    context = httpx.create_ssl_context()
    if settings.ca_file:
        try:
            context.load_verify_locations(settings.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(f"push.ca_file: cannot use {settings.ca_file}") from error
    return context


def _present_certificate(context: ssl.SSLContext, path: str) -> None:
    name = "push.matrix_client_cert_file"
    try:
        context.load_cert_chain(path, password=_no_password)
    except _Encrypted:
        raise ConfigError(f"{name}: the key in {path} is encrypted; give one that is not") from None
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"{name}: {path} holds no certificate with its private key") from error


class _Encrypted(Exception):
    pass


def _no_password() -> str:
    """Asked for by OpenSSL, which would otherwise ask at the terminal."""
    raise _Encrypted
