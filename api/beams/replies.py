"""Replies of Beams' API: always 200, for some SDKs take any other status for an error."""

from typing import Any

from quart import Response

from api import codec


def answer(value: Any) -> Response:
    return Response(codec.encode_json(value), 200, content_type="application/json")


def done() -> Response:
    """There is nothing to say: SDKs expect an empty body then."""
    response = Response(b"", 200)
    response.headers.pop("Content-Type", None)
    return response
