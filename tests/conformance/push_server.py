"""A server whose channels "push:…" have push enabled, for both SDKs, and an app of it for a test.

`AblyRest` and `Ably.Rest` compare whole lists of devices, so each test has an app of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.conformance.serving import ServerProcess, serving

NAMESPACES = [{"id": "push", "pushEnabled": True}]


@contextmanager
def push_serving(data: Path) -> Iterator[ServerProcess]:
    with serving(data, tls=False, options=("--sandbox",)) as server:
        yield server


def new_key(server: ServerProcess, capability: str = '{"[*]*":["*"]}') -> str:
    """Of a new app."""
    spec: dict[str, Any] = {"keys": [{"capability": capability}], "namespaces": NAMESPACES}
    reply = httpx.post(f"http://localhost:{server.port}/apps", json=spec).raise_for_status()
    key: str = reply.json()["keys"][0]["keyStr"]
    return key


def channel_address(server: ServerProcess, key: str, channel: str) -> dict[str, str]:
    return {
        "transportType": "ablyChannel",
        "channel": channel,
        "ablyKey": key,
        "ablyUrl": f"http://localhost:{server.port}",
    }
