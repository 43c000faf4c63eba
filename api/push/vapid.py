"""VAPID: the key pair that browsers subscribe to, and the tokens signed with it (RFC 8292).

Owns `vapid-key.pem` in the data directory, which is made when it is first needed and then for ever:
every subscription is bound to its public key, so another key makes them all useless. It is made
whole under another name and linked into place, so a crash leaves none or all, and of two processes
that make one both get the first.

A token names one push service, so one is kept for each; how many is bounded, for devices name the
services. Refuses to replace a key file that is damaged.
"""

import contextlib
import os
import tempfile
from collections import OrderedDict
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from api.push.base64_forms import base64url
from api.push.key_files import p256_key
from broker.clock import Clock

KEY_FILE = "vapid-key.pem"
LIFETIME_MS = 12 * 3_600_000  # RFC 8292 2 allows 24 hours; some services' clocks are off
RENEWED_MS = 6 * 3_600_000
ORIGINS_MAX = 1_000


def kept_key(setting: str, directory: Path) -> EllipticCurvePrivateKey:
    """The key of a data directory. Raises ConfigError."""
    path = directory / KEY_FILE
    if not path.exists():
        _make(path)
    return p256_key(setting, path)


def _make(path: Path) -> None:
    key = generate_private_key(SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=f"{KEY_FILE}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(draft, path)
        _sync_directory(path.parent)
    finally:
        Path(draft).unlink()


def _sync_directory(directory: Path) -> None:
    """A key that browsers subscribed to must not be lost with the power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Vapid:
    def __init__(self, key: EllipticCurvePrivateKey, subject: str, clock: Clock) -> None:
        self._key = key
        self._subject = subject
        self._clock = clock
        self._headers: OrderedDict[str, tuple[str, int]] = OrderedDict()
        point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.public_point = point
        self.public_key = base64url(point)

    def authorization(self, origin: str) -> str:
        """The Authorization header for one push service."""
        now_ms = self._clock()
        header, signed_ms = self._headers.get(origin, ("", 0))
        if not header or not 0 <= now_ms - signed_ms < RENEWED_MS:
            header = f"vapid t={self._token(origin, now_ms)}, k={self.public_key}"
            self._headers[origin] = (header, now_ms)
        self._headers.move_to_end(origin)
        if len(self._headers) > ORIGINS_MAX:
            self._headers.popitem(last=False)
        return header

    def _token(self, origin: str, now_ms: int) -> str:
        claims = {"aud": origin, "exp": (now_ms + LIFETIME_MS) // 1_000, "sub": self._subject}
        return jwt.encode(claims, self._key, algorithm="ES256")
