"""Tokens as an application's own server would make them, for an SDK that asks when it needs one."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

from tests.conformance.realtime.client import Token
from tests.conformance.realtime.rest import Rest
from tests.conformance.serving import KEY, ServerProcess, token

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Claims:
    """What a token says. `capability`: None is that of the key."""

    client_id: str | None = None
    capability: dict[str, list[str]] | None = None
    ttl_ms: int = HOUR_MS

    def of_jwt(self) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if self.client_id is not None:
            given["x-ably-clientId"] = self.client_id
        if self.capability is not None:
            given["x-ably-capability"] = json.dumps(self.capability)
        return given

    def of_request(self) -> dict[str, Any]:
        given: dict[str, Any] = {"ttl": self.ttl_ms}
        if self.client_id is not None:
            given["clientId"] = self.client_id
        if self.capability is not None:
            given["capability"] = json.dumps(self.capability)
        return given


@dataclass
class Issuer:
    """`native`: asks the server's requestToken; else signs a JWT. Claims may change between two
    tokens."""

    server: ServerProcess
    native: bool
    claims: Claims
    key: str = KEY
    issued: list[Token] = field(default_factory=list)
    _later: Claims | None = None

    async def __call__(self) -> Token:
        self.issued.append(await self.make())
        self.claims = self._later or self.claims
        return self.issued[-1]

    async def make(self) -> Token:
        if self.native:
            async with Rest(self.server, self.key) as rest:
                return await rest.request_token(**self.claims.of_request())
        lifetime_s = self.claims.ttl_ms // 1000
        return token(key=self.key, lifetime_s=lifetime_s, claims=self.claims.of_jwt())

    def change(self, **claims: Any) -> None:
        self.claims = replace(self.claims, **claims)

    def after_the_next(self, **claims: Any) -> None:
        """One more token as before, then other ones."""
        self._later = replace(self.claims, **claims)
