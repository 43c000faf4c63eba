"""What Schemathesis has to know to test us, loaded by it (see test_schemathesis).

- An envelope says what the status would have been: replies are taken out of it, so that every check
  looks at what the reply is.
- MessagePack is read, so that its replies are held to their schemas too.
- A reply that was not asked to be less is the plain answer, strictly: `plain_answers`. The document
  alone cannot say that, for its schemas cover every shape that a reply may be asked for.
- Names in paths are sometimes those of what exists, or nearly every reply would be an empty list.
"""

import os
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgpack
import msgspec
import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import IgnoredAuth

from api.rest.resources import Envelope
from tests.api.any_format import value_in
from tests.api.declared import check_answer, endpoints, is_exactly, without_bytes
from tests.api.rest_server import JSON, MSGPACK

KEY_NAME = os.environ["TIDELOG_KEY_NAME"]
CHANNELS = os.environ["TIDELOG_CHANNELS"].split(",")
DEVICE = os.environ["TIDELOG_DEVICE"]
_ENCODE = {JSON: msgspec.json.encode, MSGPACK: msgpack.packb}
_TRUE = ("true", "1")


@schemathesis.hook
def map_path_parameters(
    _: HookContext, path_parameters: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Half of the names that are made up, by their length: the choice is as random as they are."""
    if path_parameters is None:
        return None
    known = {**path_parameters}
    if "key_name" in known and _is_even(known["key_name"]):
        known["key_name"] = KEY_NAME
    if "device_id" in known and _is_even(known["device_id"]):
        known["device_id"] = DEVICE
    if "channel_id" in known and _is_even(known["channel_id"]):
        known["channel_id"] = CHANNELS[len(str(path_parameters["channel_id"])) // 2 % 2]
    return known


def _is_even(name: object) -> bool:
    return len(str(name)) % 2 == 0


@schemathesis.deserializer(MSGPACK)
def read_msgpack(_: Any, response: Response) -> Any:
    return without_bytes(msgpack.unpackb(response.content))


@schemathesis.hook
def after_call(_: HookContext, case: Case, response: Response) -> None:
    """The reply out of its envelope, in place."""
    kind = content_type(response)
    if response.status_code != 200 or "envelope" not in _query(response) or kind is None:
        return
    if is_text(case) and response.request.method == "GET":
        return
    told = value_in(kind, response.content)
    if not isinstance(told, dict) or "statusCode" not in told:
        return
    if kind in _ENCODE:
        assert is_exactly(without_bytes(told), Envelope), told
        response.content = _ENCODE[kind](told.get("response"))
    response.status_code = told["statusCode"]
    named = told["headers"] if isinstance(told.get("headers"), dict) else {}
    response.headers.update({name: [text] for name, text in named.items()})
    if response.status_code == 204:
        response.content = b""
        del response.headers["content-type"]


@schemathesis.check
def plain_answers(_: CheckContext, response: Response, case: Case) -> None:
    described = endpoints()[case.operation.definition.raw["operationId"]].operation
    kind = content_type(response)
    if not 200 <= response.status_code < 300 or kind not in _ENCODE or is_shaped(response):
        return
    check_answer(described, value_in(kind, response.content))


@schemathesis.hook
def filter_failure(_: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """Whether credentials are needed is asked with requests of Schemathesis's own, which do not
    come out of their envelopes: it is asked again for the same operation without one."""
    return not (isinstance(failure, IgnoredAuth) and "envelope" in _query(response))


def is_text(case: Case) -> bool:
    """Whether the operation answers text, whatever it is asked for."""
    described = endpoints()[case.operation.definition.raw["operationId"]].operation
    return described.text_type is not None


def is_shaped(response: Response) -> bool:
    """POST is answered as it is, whatever it was asked."""
    query = _query(response)
    wanted = query.get("fields") or query.get("select")
    is_flat = query.get("flatten", "").lower() in _TRUE
    return response.request.method == "GET" and bool(wanted or is_flat)


def content_type(response: Response) -> str | None:
    return next(iter(response.headers.get("content-type", ())), None)


def _query(response: Response) -> dict[str, str]:
    """Of a name that is given twice, the first counts."""
    pairs = parse_qsl(urlsplit(str(response.request.url)).query, keep_blank_values=True)
    return dict(reversed(pairs))
