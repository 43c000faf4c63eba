"""The admin socket's language: one JSON object per line, each way. Sans-I/O.

    -> {"operation": "keys.list", "arguments": {"app": "a1"}}
    <- {"result": [...]}                        or {"error": {message, code, statusCode, href}}

An operation that streams answers with any number of {"item": ...} lines and then {"end": true}, or
an error; the client ends it by closing its side. Requests on one connection are answered in order.

Invariant: whatever the bytes, a line becomes a `Request` or a BrokerError, and nothing is held
beyond the bound of a line.
"""

from typing import Any

import msgspec

from api import codec, refusals
from broker.errors import BadRequest, BrokerError

# A publish of the default limit, base64, with room for operators who raised the limit.
REQUEST_BYTES_MAX = 16 * 1024 * 1024
# A page of history is bounded by the log at 8 MiB of payload; JSON may write a byte as six.
REPLY_BYTES_MAX = 64 * 1024 * 1024
DEPTH_MAX = 64
INVALID_REQUEST = 40000
TOO_LARGE = 40009
INTERNAL = 50000


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    operation: str
    arguments: dict[str, Any] = {}


class Lines:
    """Bytes in, whole lines out. Raises BadRequest 40009 when a line exceeds the bound."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> bytes | None:
        """The next line without its end, None until more is fed."""
        end = self._buffer.find(b"\n", self._searched)
        self._searched = len(self._buffer) if end < 0 else end
        if self._searched > self._bytes_max:
            raise BadRequest(f"a line exceeds {self._bytes_max} bytes", TOO_LARGE, 413)
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line


def read_request(line: bytes) -> Request:
    """Raises BadRequest: not JSON, not a request."""
    try:
        return msgspec.convert(codec.decode_json(line, DEPTH_MAX), Request)
    except msgspec.ValidationError as error:
        raise BadRequest(f"not a request: {error}", INVALID_REQUEST) from None


def write_request(request: Request) -> bytes:
    return msgspec.json.encode(request) + b"\n"


def write_result(result: Any) -> bytes:
    return codec.encode_json({"result": result}) + b"\n"


def write_item(item: Any) -> bytes:
    return codec.encode_json({"item": item}) + b"\n"


def write_end() -> bytes:
    return codec.encode_json({"end": True}) + b"\n"


def write_error(error: BrokerError) -> bytes:
    return refusals.envelope(error) + b"\n"


def read_reply(line: bytes) -> dict[str, Any]:
    """A reply line, for the client. Raises the BrokerError that it carries."""
    reply: dict[str, Any] = codec.decode_json(line, DEPTH_MAX)
    error = reply.get("error")
    if error is not None:
        raise BrokerError(error["message"], error["code"], error["statusCode"])
    return reply
