"""What a reply says, whatever its format is, and whether or not it came in an envelope."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

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


class Said(NamedTuple):
    """A reply out of its format and its envelope."""

    status: int
    value: Any
    headers: Mapping[str, str]


def said(reply: httpx.Response) -> Said:
    """What a reply comes to for who asked for an envelope, or for none."""
    value = value_of(reply)
    if not isinstance(value, dict) or "statusCode" not in value:
        return Said(reply.status_code, value, reply.headers)
    assert reply.status_code == 200
    assert value.keys() <= {"statusCode", "response", "headers", "rel"}
    headers = value.get("headers", {})
    return Said(
        value["statusCode"], value.get("response"), headers if isinstance(headers, dict) else {}
    )


def check_error(refused: Said) -> None:
    """TI1-TI5, in any format; a batch that failed has its results too."""
    assert refused.value.keys() - {"batchResponse"} == {"error"}
    error = refused.value["error"]
    assert error.keys() - {"serverId"} == {"message", "code", "statusCode", "href"}
    assert error["message"]
    assert error["statusCode"] == refused.status
    assert error["href"].endswith(f"/{error['code']}")
    assert refused.headers["x-ably-errorcode"] == str(error["code"])
    assert refused.headers["x-ably-errormessage"]
    assert ("batchResponse" in refused.value) == (error["code"] == 40020)
