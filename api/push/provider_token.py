"""The token that APNs knows us by: signed with ES256, kept, and renewed in time.

Apple takes a token for an hour, and not more than one new token in 20 minutes. So one serves 50
minutes, and one that Apple calls expired before that (our clocks differ) is replaced, but not again
within the 20 minutes.
"""

from dataclasses import dataclass, field

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from broker.clock import Clock

MINUTE_MS = 60_000
KEPT_MS = 50 * MINUTE_MS
REPLACED_AGAIN_MS = 20 * MINUTE_MS


@dataclass(frozen=True, kw_only=True)
class ApnsIdentity:
    key_id: str
    team_id: str
    key: EllipticCurvePrivateKey = field(repr=False)


class ProviderToken:
    def __init__(self, identity: ApnsIdentity, clock: Clock) -> None:
        self._identity = identity
        self._clock = clock
        self._token = ""
        self._signed_ms = 0
        self._replaced_ms: int | None = None

    def current(self) -> str:
        age_ms = self._clock() - self._signed_ms
        if not self._token or not 0 <= age_ms < KEPT_MS:
            self._sign()
        return self._token

    def after(self, expired: str) -> str | None:
        """The token to try after Apple called one expired; None if there can be no other yet."""
        if expired != self._token:
            return self.current()
        now_ms = self._clock()
        if self._replaced_ms is not None and now_ms - self._replaced_ms < REPLACED_AGAIN_MS:
            return None
        self._replaced_ms = now_ms
        self._sign()
        return self._token

    def _sign(self) -> None:
        self._signed_ms = self._clock()
        claims = {"iss": self._identity.team_id, "iat": self._signed_ms // 1_000}
        headers = {"kid": self._identity.key_id}
        self._token = jwt.encode(claims, self._identity.key, algorithm="ES256", headers=headers)
