"""The API as an OpenAPI 3.1 document, made from the routes and the types that they name.

Each route says what it is (`api.operation`), so the document has every route or the server does not
start, and its schemas are msgspec's of the types that parameters are read as and answers made of.

What any request may ask for (`api.control`) is described once. Where it changes the shape of an
answer, the answer's schema says so: the plain one, or what became of it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from quart_trio import QuartTrio

from api.control import Control
from api.formats import FORM, FORMATS, HTML, JSONP
from api.operation import Operation, operation_of
from api.parameters import Params
from api.rest.resources import Envelope, Failure
from api.version import tidelog_version

JSON_TYPES = tuple(known.content_type for known in FORMATS if known not in (JSONP, HTML))
TEXT_TYPES = (JSONP.content_type, HTML.content_type)
BODY_TYPES = (*JSON_TYPES, FORM)
NO_BODY = 204
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_REFERENCE = "#/components/schemas/{name}"
_DESCRIPTION = """\
Ably's REST API on a log of your own. Replies are JSON unless `Accept` or `format` names
MessagePack, JSONP or HTML. Errors are `{"error": {message, code, statusCode, href}}`, with the code
and message in `X-Ably-ErrorCode` and `X-Ably-ErrorMessage` too. Pages of a resource are linked by
`Link` headers (`first`, `current`, `next`)."""
_SECURITY = {
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "an API key: its name (appId.keyId) and its secret",
    },
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "an Ably token or a JWT signed by a key; it may be in base64",
    },
    "key": {"type": "apiKey", "in": "query", "name": "key", "description": "a whole API key"},
    "token": {"type": "apiKey", "in": "query", "name": "access_token"},
}
_VERSION = {
    "name": "X-Ably-Version",
    "in": "header",
    "description": "the version of the API that the client knows; also as the parameter v",
    "schema": {"type": "string", "examples": ["3"]},
}


_RESHAPED = {
    "anyOf": [{"type": "object"}, {"type": "array"}],
    "description": "what fields, flatten or select left of an answer: some of it, or flat",
}


class Endpoint(msgspec.Struct, frozen=True):
    """`path`: in OpenAPI's spelling; `names`: of what varies in it."""

    method: str
    path: str
    names: tuple[str, ...]
    operation: Operation


def endpoints(app: QuartTrio) -> Iterator[Endpoint]:
    """Every route, by path. Raises LookupError for one that does not say what it is."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        described = operation_of(app.view_functions[rule.endpoint])
        if described is None:
            raise LookupError(f"{rule.rule} has no operation")
        path = "".join(f"{{{text}}}" if varies else text for varies, text in rule._trace[1:])
        for method in _METHODS:
            if method in (rule.methods or ()):
                yield Endpoint(method, path, tuple(sorted(rule.arguments)), described)


def document(found: Sequence[Endpoint]) -> dict[str, Any]:
    types = [*_types(found), Failure, Envelope]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    schema_of = dict(zip(map(repr, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in found:
        described = _Described(endpoint, schema_of).as_operation()
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidelog",
            "version": tidelog_version(),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Reshaped": _RESHAPED},
            "securitySchemes": _SECURITY,
            "parameters": {
                "X-Ably-Version": _VERSION,
                **{one["name"]: one for one in parameters_of(Control)},
            },
        },
    }


def parameters_of(kind: type[Params]) -> list[dict[str, Any]]:
    """The query parameters that a type reads. None of them is ever required: what must be there is
    the route's to say."""
    (_, components) = msgspec.json.schema_components([kind])
    (schema,) = components.values()
    return [_parameter(name, field) for name, field in schema["properties"].items()]


def _parameter(name: str, field: dict[str, Any]) -> dict[str, Any]:
    described = {key: value for key, value in field.items() if key != "description"}
    if described.get("default", "") is None:  # absent, which null would not be in a query
        del described["default"]
    branches = [one for one in described.get("anyOf", ()) if one != {"type": "null"}]
    if len(branches) == 1:
        described = {**described, **branches[0]}
        del described["anyOf"]
    elif branches:
        described["anyOf"] = branches
    description = field.get("description") or described.pop("description", "")
    return {"name": name, "in": "query", "schema": described, "description": description}


def _types(found: Sequence[Endpoint]) -> list[Any]:
    wanted = [
        kind
        for endpoint in found
        for described in _described_types(endpoint.operation)
        for kind in alternatives(described)
    ]
    return list({repr(kind): kind for kind in wanted}.values())


def _described_types(operation: Operation) -> Iterator[Any]:
    yield from (operation.body, operation.answer, *(kind for _, kind in operation.others))


def alternatives(described: Any) -> tuple[Any, ...]:
    """A route names a type, or several that it takes or answers."""
    if described is None:
        return ()
    return described if isinstance(described, tuple) else (described,)


class _Described:
    """One operation of the document."""

    def __init__(self, endpoint: Endpoint, schema_of: dict[str, Any]) -> None:
        self._endpoint = endpoint
        self._operation = endpoint.operation
        self._schema_of = schema_of

    def as_operation(self) -> dict[str, Any]:
        described: dict[str, Any] = {
            "operationId": self._operation.id,
            "summary": self._operation.summary,
            "tags": [self._operation.tag],
            "parameters": list(self._parameters()),
            "responses": self._responses(),
            "security": [] if self._operation.is_public else [{name: []} for name in _SECURITY],
        }
        if self._operation.body is not None:
            described["requestBody"] = {"required": True, "content": self._body()}
        return described

    def _parameters(self) -> Iterator[dict[str, Any]]:
        for name in self._endpoint.names:
            schema = {"type": "string", "minLength": 1}
            yield {"name": name, "in": "path", "required": True, "schema": schema}
        if self._operation.params is not None:
            yield from parameters_of(self._operation.params)
        for name in ("X-Ably-Version", *(one["name"] for one in parameters_of(Control))):
            yield {"$ref": f"#/components/parameters/{name}"}

    def _body(self) -> dict[str, Any]:
        typed = {kind: {"schema": self._any_of(self._operation.body)} for kind in BODY_TYPES}
        raw: dict[str, Any] = {kind: {"schema": {}} for kind in self._operation.raw_bodies}
        return {**typed, **raw}

    def _responses(self) -> dict[str, Any]:
        status = self._operation.status
        enveloped = {
            "200": {"description": "The reply in an envelope", "content": self._content(Envelope)}
        }
        return {
            **enveloped,
            str(status): self._response(status),
            **{
                str(other): {"description": "Not so", "content": self._content(kind)}
                for other, kind in self._operation.others
            },
            "default": {"description": "Why not", "content": self._content(Failure)},
        }

    def _response(self, status: int) -> dict[str, Any]:
        if status == NO_BODY:
            return {"description": self._operation.summary}
        response: dict[str, Any] = {
            "description": self._operation.summary,
            "content": self._content(self._answers(status), self._operation.text_type),
        }
        if self._operation.is_paged:
            link = {"description": "first, current, next", "schema": {"type": "string"}}
            response["headers"] = {"Link": link}
        return response

    def _answers(self, status: int) -> Any:
        plain = alternatives(self._operation.answer) or (Failure,)
        if self._operation.text_type or status != 200:
            return plain
        return (*plain, Envelope, _RESHAPED)

    def _content(self, kinds: Any, text_type: str | None = None) -> dict[str, Any]:
        if text_type:
            return {text_type: {"schema": {"type": "string"}}}
        typed = {kind: {"schema": self._any_of(kinds)} for kind in JSON_TYPES}
        return {**typed, **{kind: {"schema": {"type": "string"}} for kind in TEXT_TYPES}}

    def _any_of(self, kinds: Any) -> dict[str, Any]:
        schemas = [
            {"$ref": _REFERENCE.format(name="Reshaped")}
            if kind is _RESHAPED
            else self._schema_of[repr(kind)]
            for kind in alternatives(kinds)
        ]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
