"""What a reply says, whatever its format is, and whether or not it came in an envelope."""

import json
import re
from typing import Any

import httpx
import msgpack

from tests.api.pages import page
from tests.api.rest_server import JSON, MSGPACK

JSONP = "application/javascript"
HTML = "text/html"
ALL_TYPES = {"json": JSON, "msgpack": MSGPACK, "jsonp": JSONP, "html": HTML}
_CALL = re.compile(rb"/\*\*/([A-Za-z_$][\w$.]*)\((.*)\);", re.DOTALL)


def value_of(reply: httpx.Response) -> Any:
    """As it is in the body. HTML shows what is empty without saying of what type it is."""
    return value_in(reply.headers["content-type"], reply.content)


def value_in(content_type: str, body: bytes) -> Any:
    match content_type:
        case "application/x-msgpack":
            return msgpack.unpackb(body)
        case "application/javascript":
            return json.loads(called(body)[1])
        case "text/html":
            return page(body.decode()).value
        case _:
            assert content_type == JSON
            return json.loads(body)


def called(body: bytes) -> tuple[str, bytes]:
    """(function, argument) of a JSONP body."""
    call = _CALL.fullmatch(body)
    assert call, body
    return call[1].decode(), call[2]


def check_headers(reply: httpx.Response) -> None:
    """What goes with a format: browsers guess nothing, and run nothing that a page may hold."""
    kind = reply.headers["content-type"]
    if kind in (HTML, JSONP):
        assert reply.headers["x-content-type-options"] == "nosniff"
    if kind == HTML:
        policy = reply.headers["content-security-policy"].split("; ")
        assert "default-src 'none'" in policy
        assert not any(part.startswith("script") for part in policy)
        assert reply.headers["referrer-policy"] == "no-referrer"
