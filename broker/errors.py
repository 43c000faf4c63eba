"""Every error a caller of the broker can see: one base, subclasses by who must act.

An error carries the protocol's code, the HTTP status, a message and a link (Ably's ErrorInfo:
TI1-TI5). Nothing is half-applied when one is raised. `storage` has errors of its own; they are
mapped to these once, where the broker calls the log.
"""

from typing import Any

HELP_URL = "https://help.ably.io/error/"


class BrokerError(Exception):
    """An operation was refused or failed.

    code: Ably error code (reference: ably-common protocol/errors.json).
    status: HTTP status the error maps to.
    """

    def __init__(self, message: str, code: int, status: int) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status

    @property
    def href(self) -> str:
        return f"{HELP_URL}{self.code}"

    @property
    def info(self) -> dict[str, Any]:
        """As SDKs read it: ErrorInfo."""
        return {
            "message": self.message,
            "code": self.code,
            "statusCode": self.status,
            "href": self.href,
        }


class BadRequest(BrokerError):
    """The caller sent something that cannot be done; sending it again will not help."""

    def __init__(self, message: str, code: int = 40000, status: int = 400) -> None:
        super().__init__(message, code, status)


class Unauthorized(BrokerError):
    """The caller's credentials are missing, wrong, or do not allow this."""

    def __init__(self, message: str, code: int = 40101, status: int = 401) -> None:
        super().__init__(message, code, status)


class NotFound(BrokerError):
    """What the caller named does not exist."""

    def __init__(self, message: str, code: int = 40400, status: int = 404) -> None:
        super().__init__(message, code, status)


class Overloaded(BrokerError):
    """A limit is reached; the caller may try again later: in `retry_after_s`, where that is
    known."""

    retry_after_s: float | None = None

    def __init__(self, message: str, code: int = 42910, status: int = 429) -> None:
        super().__init__(message, code, status)


class Unavailable(BrokerError):
    """The broker cannot do this now; the operator must act (disk full, failed storage, closed)."""

    def __init__(self, message: str, code: int = 50003, status: int = 503) -> None:
        super().__init__(message, code, status)


class InUse(Unavailable):
    """Another process has the data directory open for writing."""
