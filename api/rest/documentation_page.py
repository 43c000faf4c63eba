"""The OpenAPI document as one page to read: routes by topic, then the types they name."""

from collections.abc import Iterator
from html import escape
from typing import Any

from api.html_page import document as whole_page

_REFERENCE = "#/components/schemas/"


def page(document: dict[str, Any]) -> str:
    info, components = document["info"], document["components"]
    schemas: dict[str, Any] = components["schemas"]
    common = list(components["parameters"].values())
    return whole_page(
        f"{info['title']} {info['version']}: HTTP API",
        f"<p>{escape(info['description'])}</p>"
        '<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"{''.join(_topics(document['paths']))}"
        f"<h2>Any request</h2>{_parameters(common)}"
        f"<h2>Types</h2>{''.join(_schema(name, schemas[name]) for name in sorted(schemas))}",
    )


def _topics(paths: dict[str, dict[str, Any]]) -> Iterator[str]:
    topics: dict[str, list[str]] = {}
    for path, methods in paths.items():
        for method, described in methods.items():
            shown = _operation(f"{method.upper()} {path}", described)
            topics.setdefault(described["tags"][0], []).append(shown)
    for topic in sorted(topics):
        yield f"<h2>{escape(topic)}</h2>{''.join(topics[topic])}"


def _operation(title: str, described: dict[str, Any]) -> str:
    own = [one for one in described["parameters"] if "$ref" not in one]
    body = described.get("requestBody")
    takes = f"<p>Takes {_content(body['content'])}</p>" if body else ""
    answers = "".join(
        f"<li>{escape(status)}: {_content(response.get('content', {})) or 'no body'}</li>"
        for status, response in described["responses"].items()
    )
    return (
        f'<h3 id="{escape(described["operationId"])}"><code>{escape(title)}</code></h3>'
        f"<p>{escape(described['summary'])}{_credentials(described)}</p>"
        f"{_parameters(own)}{takes}<p>Answers</p><ul>{answers}</ul>"
    )


def _credentials(described: dict[str, Any]) -> str:
    return "" if described["security"] else ". Needs no credentials"


def _parameters(parameters: list[dict[str, Any]]) -> str:
    if not parameters:
        return ""
    rows = (
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td>"
        f"<td>{_type(one['schema'])}</td><td>{escape(one.get('description', ''))}</td></tr>"
        for one in parameters
    )
    return f"<table>{''.join(rows)}</table>"


def _content(content: dict[str, Any]) -> str:
    """The type of the first kind of content, and every kind."""
    if not content:
        return ""
    kinds = ", ".join(f"<code>{escape(kind)}</code>" for kind in content)
    return f"{_type(next(iter(content.values()))['schema'])} as {kinds}"


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = (
        f"<tr><td><code>{escape(field)}</code></td><td>{_type(described)}</td>"
        f"<td>{'always' if field in required else 'may be absent'}</td>"
        f"<td>{escape(described.get('description', ''))}</td></tr>"
        for field, described in schema.get("properties", {}).items()
    )
    about = escape(schema.get("description", ""))
    heading = f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{about}</p>'
    return f"{heading}<table>{''.join(rows)}</table>"


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = escape(schema["$ref"].removeprefix(_REFERENCE))
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(branch) for branch in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and schema.get("additionalProperties"):
        return "object"
    kind = schema.get("type", "anything")
    return escape(" or ".join(kind) if isinstance(kind, list) else str(kind))
