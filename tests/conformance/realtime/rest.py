"""What the scenarios do beside the SDK, over REST with the key: no SDK is needed for that."""

from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from tests.conformance.realtime.client import Refused
from tests.conformance.serving import KEY, ServerProcess


class Rest:
    def __init__(self, server: ServerProcess, key: str = KEY) -> None:
        self._key = key
        self._http = httpx.AsyncClient(
            base_url=f"http://localhost:{server.port}",
            auth=httpx.BasicAuth(*key.split(":", 1)),
            headers={"X-Ably-Version": "5"},
            timeout=30,
        )

    async def __aenter__(self) -> "Rest":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        reply = await self._http.request(method, path, **options)
        body = reply.json() if reply.content else None
        if reply.is_error:
            error = (body or {}).get("error", {})
            raise Refused(reply.status_code, error.get("code"), error.get("message", ""))
        return body

    async def publish(self, channel: str, *messages: dict[str, Any]) -> list[str]:
        path = f"/channels/{quoted(channel)}/messages"
        serials: list[str] = (await self.ask("POST", path, json=list(messages)))["serials"]
        return serials

    async def names(self, channel: str) -> list[str]:
        """Of all messages, oldest first."""
        path = f"/channels/{quoted(channel)}/messages"
        page = await self.ask("GET", path, params={"direction": "forwards", "limit": 1000})
        return [message["name"] for message in page]

    async def members(self, channel: str) -> set[str]:
        page = await self.ask(
            "GET", f"/channels/{quoted(channel)}/presence", params={"limit": 1000}
        )
        return {member["clientId"] for member in page}

    async def request_token(self, **parameters: Any) -> dict[str, Any]:
        key_name = self._key.partition(":")[0]
        path = f"/keys/{key_name}/requestToken"
        found: dict[str, Any] = await self.ask(
            "POST", path, json={"keyName": key_name} | parameters
        )
        return found

    async def revoke(self, *targets: str, **options: Any) -> Any:
        path = f"/keys/{self._key.partition(':')[0]}/revokeTokens"
        return await self.ask("POST", path, json={"targets": targets, **options})


def quoted(channel: str) -> str:
    return quote(channel, safe="")
