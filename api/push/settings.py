"""What an operator may set about push: section [push], each with default, unit and help.

Secrets are not settings: private keys come from files that are named here, so nothing that
`tidelog config` prints is one. Which settings go together is checked when the transports are
built (`api.push.transports`), for here each is looked at alone.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from api.push.addresses import is_loopback_host
from api.push.matrix_target import host_and_port
from broker.settings import check_positive, setting

_URLS = ("apns_url", "fcm_url", "fcm_token_url")
_CONTACTS = ("mailto:", "https://")


@dataclass(frozen=True, kw_only=True, slots=True)
class PushSettings:
    apns_key_file: str = setting("", "PEM file", "Apple's .p8 key; with its id, team and topic")
    apns_key_id: str = setting("", "10 characters", "key id of apns_key_file")
    apns_team_id: str = setting("", "10 characters", "team that apns_key_file belongs to")
    apns_topic: str = setting("", "bundle id", "app that Apple devices are notified for")
    apns_url: str = setting(
        "https://api.push.apple.com",
        "URL",
        "where APNs is; for development builds https://api.sandbox.push.apple.com",
    )

    fcm_service_account_file: str = setting("", "JSON file", "service account that sends with FCM")
    fcm_url: str = setting("https://fcm.googleapis.com", "URL", "where FCM is")
    fcm_token_url: str = setting(
        "", "URL", "where FCM's access tokens come from; empty is what the service account says"
    )

    vapid_key_file: str = setting(
        "",
        "PEM file",
        "P-256 key that browsers subscribe to; empty makes one in the data directory",
    )
    vapid_subject: str = setting(
        "mailto:push@example.com", "mailto: or https: URL", "whom push services may ask: set yours"
    )

    matrix_gateways: tuple[str, ...] = setting(
        (),
        "hosts, with ports",
        "Matrix push gateways that may be asked, at any address; empty for whatever is public",
    )
    matrix_client_cert_file: str = setting(
        "", "PEM file", "certificate that Matrix push gateways know us by, and its private key"
    )

    allow_loopback_targets: bool = setting(
        False, "on or off", "let devices name targets on this machine, over http too; for tests"
    )
    ca_file: str = setting("", "PEM file", "more authorities to trust, for gateways of your own")
    connect_timeout_ms: int = setting(5_000, "ms", "time to reach a gateway, and again for its TLS")
    total_timeout_ms: int = setting(10_000, "ms", "time for one request, reply included")
    connections_max: int = setting(100, "connections", "open connections of one kind of transport")

    def __post_init__(self) -> None:
        check_positive(self, frozenset({"allow_loopback_targets"}))
        for gateway in self.matrix_gateways:
            host_and_port(gateway)
        for name in _URLS:
            _check_url(name, getattr(self, name))
        if not self.vapid_subject.startswith(_CONTACTS):
            raise ValueError("vapid_subject must begin with mailto: or https://")


def _check_url(name: str, text: str) -> None:
    """An operator's own gateway may be anywhere, but only on this machine without TLS."""
    if not text:
        return
    url = urlsplit(text)
    if not url.hostname or url.username is not None:
        raise ValueError(f"{name} must be a URL with a host, and without a user")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback_host(url.hostname)):
        raise ValueError(f"{name} must be https (http only on this machine)")
