"""`/apps`: how SDK test suites make the app that they run against, and delete it; reference 1.17.

Open to anyone who can reach the server, and every key of an app may delete it, so these routes
exist with `--sandbox` only. What a request asks for is made whole or not at all.

Refuses to do: administer apps that must stay (`tidelog apps`), or change one that exists.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from quart import Blueprint, Response, request

from api.authentication import authenticate
from api.formats import decode_body
from api.operation import operation
from api.replies import no_content, reply
from api.rest.app_spec import (
    AppSpec,
    KeySpec,
    NamespaceSpec,
    fixtures_of,
    new_key,
    read_spec,
    rules_of,
)
from api.settings import ServerSettings
from broker import Broker
from broker.auth.credentials import Key
from broker.errors import BadRequest, Unauthorized
from broker.tenancy import App

BASIC_NEEDED = 40101
OTHER_KEY = 40133
NEVER_MS = 0
_DEFAULT_PORTS = {"http": 80, "https": 443}


def routes(broker: Broker, settings: ServerSettings) -> Blueprint:
    blueprint = Blueprint("apps", __name__)

    @blueprint.post("/apps")
    @operation(
        "createApp",
        "Make an app for tests, with all it begins with",
        "Sandbox",
        body=AppSpec,
        answer=dict[str, Any],
        status=201,
        is_public=True,
    )
    async def create() -> Response:
        body = await request.data
        spec = read_spec(decode_body(body, request.content_type, settings))
        reached_at = _address()
        app, keys = await broker.apps.provision(
            [new_key(key) for key in spec.keys or ()],
            [(namespace.id, rules_of(namespace)) for namespace in spec.namespaces or ()],
            fixtures_of(spec.channels or ()),
            presence_members_max=spec.presence_members_max,
        )
        return reply({**_described(app, keys, spec), **reached_at}, 201)

    @blueprint.delete("/apps/<app_id>")
    @operation("deleteApp", "Delete an app and all it holds", "Sandbox", status=204)
    async def delete(app_id: str) -> Response:
        principal = authenticate(broker)
        if principal.kind != "key":
            raise Unauthorized("an app is deleted with one of its keys", BASIC_NEEDED)
        if principal.app_id != app_id:
            raise Unauthorized("the key is one of another app", OTHER_KEY)
        await broker.apps.delete(app_id)
        return no_content()

    return blueprint


def _address() -> dict[str, Any]:
    """Where the client reached us: what the JS suite's local-sandbox mode has its clients use."""
    try:
        parts = urlsplit(f"//{request.host}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise BadRequest("the Host header must hold the name that the server was reached by")
    return {
        "endpoint": f"[{host}]" if ":" in host else host,
        "port": port or _DEFAULT_PORTS[request.scheme],
        "tls": request.scheme == "https",
    }


def _described(app: App, keys: Sequence[Key], spec: AppSpec) -> dict[str, Any]:
    made = {"created": app.created_ms, "modified": app.created_ms}
    key_specs, namespaces, channels = spec.keys or (), spec.namespaces or (), spec.channels or ()
    return {
        "appId": app.id,
        "id": app.id,
        "accountId": app.id,  # there are no accounts here, but a client may expect the field
        "status": "enabled",
        "tlsOnly": False,
        "labels": "autodelete",
        **made,
        "keys": [
            {**_key(key, key_spec), **made} for key, key_spec in zip(keys, key_specs, strict=True)
        ],
        "namespaces": [{**_namespace(namespace), **made} for namespace in namespaces],
        "connections": [],
        "channels": [{"name": channel.name} for channel in channels],
    }


def _key(key: Key, spec: KeySpec) -> dict[str, Any]:
    return {
        "id": key.key_id,
        "value": key.secret,
        "keyName": key.name,
        "keySecret": key.secret,
        "keyStr": key.string,
        "capability": str(key.capability),
        "status": 0,
        "privileged": bool(spec.privileged),
        "revocableTokens": key.revocable_tokens,
        "expires": NEVER_MS,
    }


def _namespace(spec: NamespaceSpec) -> dict[str, Any]:
    rules = rules_of(spec)
    return {
        "id": spec.id,
        "persisted": rules.persisted,
        "identified": rules.identified,
        "pushEnabled": rules.push_enabled,
        "mutableMessages": rules.mutable_messages,
    }
