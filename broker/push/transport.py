"""What the outbox asks of a transport: to hand one notification to one device's provider.

A transport speaks a provider's protocol and says what came of it in these terms; what follows from
that, for the notification and for the device, is decided by the outbox (reference push.md 5.3).
"""

from enum import Enum
from typing import Any, NamedTuple, Protocol

import msgspec

RETRIES_EXHAUSTED = 103001
NO_RECIPIENT = 103002
BAD_BODY = 103003
PAYLOAD_REJECTED = 103004
TOKEN_INVALID = 103005
NOT_CONFIGURED = 103006
UNREACHABLE = 103007
BAD_CREDENTIALS = 103008


class Verdict(Enum):
    """SENT: the provider has it. DEAD: the address is good for nothing any more. TRANSIENT: it may
    work later. REJECTED: this notification never will. MISCONFIGURED: none will, until the operator
    does something."""

    SENT = "sent"
    DEAD = "dead"
    TRANSIENT = "transient"
    REJECTED = "rejected"
    MISCONFIGURED = "misconfigured"


class MonthKey(NamedTuple):
    """What to encrypt with for a device that registered encryption. month: whose key it is,
    "2023-10"."""

    month: str
    key: bytes

    def __repr__(self) -> str:
        return f"<MonthKey of {self.month}>"


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """One notification for one device.

    id: the same at every attempt, 32 hex digits. recipient: `transportType` and the address, in the
    protocol's names. payload: as it was published, not yet any provider's. expires_ms: when nobody
    wants it any more. updated_ms: since when the device has this address. made: how many attempts
    were before. month_key: of a device whose address has `encryption`; None where its chain is
    gone.
    """

    id: str
    app: str
    recipient: dict[str, Any]
    payload: dict[str, Any]
    expires_ms: int
    updated_ms: int = 0
    month_key: MonthKey | None = None
    made: int = 0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an attempt. code, message: for the device's error, and for the log.
    retry_after_ms: what the provider asked for. is_of_address: the trouble is this address's, and
    says nothing of the endpoint: other addresses there may be fine. is_silent: it says nothing of
    the endpoint, good or bad: it was refused here, or one request was for several, and another of
    them says it.
    """

    verdict: Verdict
    code: int = 0
    message: str = ""
    retry_after_ms: int | None = None
    is_of_address: bool = False
    is_silent: bool = False


SENT = Result(verdict=Verdict.SENT)


class Transport(Protocol):
    """One kind of recipient."""

    def endpoint(self, outgoing: Outgoing) -> str:
        """Whose trouble it is when an attempt fails: attempts with the same endpoint share a bound
        and a circuit."""

    async def send(self, outgoing: Outgoing) -> Result:
        """Never raises for what a provider or the network does; bounded in time."""
