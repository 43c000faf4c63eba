"""Requests to the Matrix API, by the names that its texts have for paths: on a host of its own,
where those are the whole paths.
"""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from tests.api.rest_server import RestServer

HOST = {"Host": "push.example.org"}
BASE = "/matrix"
VERSIONS = "GET /_matrix/client/versions"
LIST = "GET /pushers"
SET = "POST /pushers/set"
AVAILABLE = "GET /channels"
READ = "GET /channels/{pushkey}"
WRITE = "POST /channels/{pushkey}"
ROUTES = (VERSIONS, LIST, SET, AVAILABLE, READ, WRITE)
ALIASES = {
    LIST: (
        LIST,
        "GET /_matrix/client/v3/pushers",
        "GET /_matrix/client/r0/pushers",
        "GET /pushers/v1",
        "GET /push/v1/pushers",
    ),
    SET: (
        SET,
        "POST /_matrix/client/v3/pushers/set",
        "POST /_matrix/client/r0/pushers/set",
        "POST /pushers/v1/set",
        "POST /push/v1/pushers/set",
    ),
    AVAILABLE: (AVAILABLE, "GET /channels/v1", "GET /push/v1/channels"),
    READ: (READ, "GET /channels/v1/{pushkey}", "GET /push/v1/channels/{pushkey}"),
    WRITE: (WRITE, "POST /channels/v1/{pushkey}", "POST /push/v1/channels/{pushkey}"),
}
EVERY_ALIAS = [VERSIONS, *(alias for aliases in ALIASES.values() for alias in aliases)]
OF_ALIAS = {alias: route for route, aliases in ALIASES.items() for alias in aliases}
PUSHKEY = "key/1+2="


@dataclass
class Asking:
    """A user's client. `base`: what stands before paths."""

    client: httpx.AsyncClient
    token: str | None = None
    base: str = ""
    headers: dict[str, str] = field(default_factory=HOST.copy)

    async def __call__(
        self, route: str, body: Any = None, *, pushkey: str = PUSHKEY, **options: Any
    ) -> httpx.Response:
        """`body`: bytes as they are, or what becomes JSON."""
        method, path = route.split(" ")
        url = self.base + path.replace("{pushkey}", quote(pushkey, safe=""))
        headers = {**self.headers, **options.pop("headers", {})}
        if self.token is not None:
            headers = {"Authorization": f"Bearer {self.token}", **headers}
        if isinstance(body, bytes):
            options["content"] = body
        elif body is not None:
            options["json"] = body
        return await self.client.request(method, url, headers=headers, **options)

    async def fine(self, route: str, body: Any = None, **options: Any) -> Any:
        """The answer of what must succeed."""
        reply = await self(route, body, **options)
        assert reply.status_code == 200, reply.text
        assert reply.headers["content-type"] == "application/json"
        return reply.json()

    async def pushers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.fine(LIST))["pushers"]
        return found

    async def statuses(self, pushkey: str = PUSHKEY) -> dict[str, str]:
        return await self.statuses_at(READ, pushkey)

    async def statuses_at(self, route: str, pushkey: str) -> dict[str, str]:
        found = await self.fine(route, pushkey=pushkey)
        return {one["id"]: one["status"] for one in found["channels"]}


def refusal(reply: httpx.Response) -> tuple[int, str]:
    """(status, errcode) of a refusal, which has both a code and a word of it."""
    assert reply.headers["content-type"] == "application/json"
    body = reply.json()
    assert body.keys() - {"soft_logout", "retry_after_ms"} == {"errcode", "error"}
    assert isinstance(body["error"], str)
    assert body["error"]
    return reply.status_code, body["errcode"]


def asking(server: RestServer, user: str, http: httpx.AsyncClient, **claims: Any) -> Asking:
    return Asking(http, server.token(**{"x-ably-clientId": user, **claims}))
