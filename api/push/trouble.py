"""What network trouble is called: in the device's error and on `[meta]log:push`.

Nobody else's exception text is among it, for it may hold the URL of a gateway, and that is as
secret as a token. httpcore, and httpx on top of it, name their errors alike.
"""

NOT_REACHED = "not reached in time"
NOWHERE = "cannot be reached"
SILENT = "no answer in time"
ENDED = "ended the connection, or broke its protocol"
BROKEN = "the connection broke"
FAILED = "the request failed"

_NAMES = {
    "ConnectTimeout": NOT_REACHED,
    "ConnectError": NOWHERE,
    "TimeoutException": SILENT,
    "RemoteProtocolError": ENDED,
    "NetworkError": BROKEN,
}


def named(error: Exception) -> str:
    """By the most particular of its classes that has a name."""
    known = (_NAMES.get(kind.__name__) for kind in type(error).__mro__)
    return next((name for name in known if name), FAILED)
