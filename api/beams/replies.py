"""The reply of Beams' API where there is nothing to say: 200, for some SDKs take any other status
for an error, and no body, for they expect none."""

from quart import Response


def done() -> Response:
    response = Response(b"", 200)
    response.headers.pop("Content-Type", None)
    return response
