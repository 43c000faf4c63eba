"""Ably's REST API over one pool of HTTP/1.1 connections: publishing, history and members."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import quote, urljoin

import httpcore
import msgspec

from bench.load.ably.endpoint import Endpoint
from bench.load.ably.messages import Item, body_of
from bench.load.driver import Refused, Unknown

_PAGE_MAX = 1_000
_SERVER_S_OWN = range(500, 600)


class _Member(msgspec.Struct):
    clientId: str = ""  # noqa: N815


class Rest:
    """Made by `rest`. Replies that are no success raise Refused; a lost connection, and an error of
    the server's own, raise Unknown."""

    def __init__(self, endpoint: Endpoint, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool
        scheme = "https" if endpoint.context else "http"
        self._root = f"{scheme}://{_bracketed(endpoint.host)}:{endpoint.port}"
        self._headers: list[tuple[bytes | str, bytes | str]] = [
            ("Authorization", endpoint.authorization),
            ("Content-Type", "application/json"),
            ("Accept", "application/json"),
        ]

    async def publish(self, channel: str, body: bytes) -> None:
        await self._publish(channel, {"data": body.decode()})

    async def notify(self, channel: str, body: bytes, run: int) -> None:
        """As `publish`, and the channel's devices are told that it is of this run."""
        push = {"notification": {"title": "Tide"}, "data": {"run": run}}
        await self._publish(channel, {"data": body.decode(), "extras": {"push": push}})

    async def _publish(self, channel: str, message: dict[str, object]) -> None:
        url = f"{self._root}/channels/{quote(channel, '')}/messages"
        await self._ask("POST", url, msgspec.json.encode(message))

    async def history(self, channel: str, limit: int) -> list[bytes]:
        query = f"limit={min(limit, _PAGE_MAX)}&direction=backwards"
        url = f"{self._root}/channels/{quote(channel, '')}/messages?{query}"
        found: list[bytes] = []
        async with aclosing(self._pages(url, list[Item])) as pages:
            async for page in pages:
                found += map(body_of, page)
                if len(found) >= limit:
                    break
        return found[:limit]

    async def members(self, channel: str) -> frozenset[str]:
        url = f"{self._root}/channels/{quote(channel, '')}/presence?limit={_PAGE_MAX}"
        found: set[str] = set()
        async for page in self._pages(url, list[_Member]):
            found.update(member.clientId for member in page)
        return frozenset(found)

    async def _pages(self, url: str, kind: Any) -> AsyncGenerator[Any, None]:
        following: str | None = url
        while following is not None:
            response = await self._ask("GET", following)
            yield msgspec.json.decode(response.content, type=kind)
            following = _next(following, response)

    async def _ask(self, method: str, url: str, content: bytes | None = None) -> httpcore.Response:
        try:
            response = await self._pool.request(method, url, headers=self._headers, content=content)
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise Unknown(str(error)) from error
        if response.status in _SERVER_S_OWN:
            raise Unknown(response.content.decode(errors="replace"))
        if response.status >= 300:
            raise Refused(response.content.decode(errors="replace"))
        return response


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _next(url: str, response: httpcore.Response) -> str | None:
    """Of the Link headers, that of the page behind this one."""
    for name, value in response.headers:
        if name.lower() != b"link":
            continue
        for link in value.decode().split(","):
            target, _, relation = link.partition(";")
            if 'rel="next"' in relation:
                return urljoin(url, target.strip().strip("<>"))
    return None


@asynccontextmanager
async def rest(endpoint: Endpoint, connections: int) -> AsyncIterator[Rest]:
    """At most so many requests at a time; others wait."""
    async with httpcore.AsyncConnectionPool(
        ssl_context=endpoint.context,
        max_connections=connections,
        max_keepalive_connections=connections,
    ) as pool:
        yield Rest(endpoint, pool)
