"""Keys and accounts that the operator keeps in files: read once, when the transports are built.

Refuses, with ConfigError, what cannot be used: the message names the setting and the file, and
never a line of it. No key has a repr.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from api.config.errors import ConfigError

FILE_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class ServiceAccount:
    """Of Google: who sends with FCM."""

    project_id: str
    client_email: str
    token_url: str
    key_id: str
    key: RSAPrivateKey = field(repr=False)

    def with_token_url(self, url: str) -> "ServiceAccount":
        """Its tokens from elsewhere, unless `url` is empty."""
        return replace(self, token_url=url or self.token_url)


class _AccountFile(msgspec.Struct, frozen=True):
    project_id: str
    client_email: str
    private_key: str
    private_key_id: str
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105

    def __repr__(self) -> str:
        return "<_AccountFile>"


def read(setting: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{setting}: cannot read {path}: {error.strerror}") from None
    if len(content) > FILE_BYTES_MAX:
        raise ConfigError(f"{setting}: {path} is larger than {FILE_BYTES_MAX} bytes")
    return content


def p256_key(setting: str, path: Path) -> EllipticCurvePrivateKey:
    """For ES256."""
    key = _private_key(setting, path, read(setting, path))
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise ConfigError(f"{setting}: {path} holds no P-256 key")
    return key


def service_account(setting: str, path: Path) -> ServiceAccount:
    try:
        account = msgspec.json.decode(read(setting, path), type=_AccountFile)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigError(f"{setting}: {path} is no service account") from None
    key = _private_key(setting, path, account.private_key.encode())
    if not isinstance(key, RSAPrivateKey):
        raise ConfigError(f"{setting}: {path} holds no RSA key")
    return ServiceAccount(
        project_id=account.project_id,
        client_email=account.client_email,
        token_url=account.token_uri,
        key_id=account.private_key_id,
        key=key,
    )


def _private_key(setting: str, path: Path, pem: bytes) -> object:
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError:
        raise ConfigError(
            f"{setting}: the key in {path} is encrypted; give one that is not"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{setting}: {path} holds no private key in PEM") from None
