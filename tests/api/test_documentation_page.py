"""`/docs`: every operation and type of the document on a page, and nothing but text in it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api import openapi
from api.operation import operation
from api.parameters import Params
from api.rest import documentation_page
from tests.api.pages import page
from tests.api.rest_server import RestServer, rest_server
from tests.api.test_openapi import application, document_of, operations


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RestServer]:
    async with rest_server(tmp_path / "data", sandbox=True) as running:
        yield running


async def test_the_page(sandbox: RestServer) -> None:
    document = await document_of(sandbox)
    reply = await sandbox.client.get("/docs")
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-security-policy"].startswith("default-src 'none'")
    read = page(reply.text)
    anchors = [heading.attributes.get("id") for heading in read.root.all("h3")]
    assert len(anchors) == len(set(anchors))
    ids = {described["operationId"] for _, _, described in operations(document)}
    assert set(anchors) == ids | set(document["components"]["schemas"])
    text = read.root.text
    for path, method, described in operations(document):
        assert f"{method} {path}" in text
        assert described["summary"] in text
    for name in document["components"]["parameters"]:
        assert name in text
    for href in read.hrefs:
        assert href == "openapi.json" or href.removeprefix("#") in anchors


async def test_the_page_escapes_what_routes_say(server: RestServer) -> None:
    app = application(server)

    class Hostile(Params, frozen=True, kw_only=True):
        """<script>alert(1)</script>"""

        other: str = "<b>"

    @app.get("/<name>/<script>")
    @operation("<i>", "</h3><script>", "<img>", params=Hostile, answer=dict[str, Any])
    async def hostile(name: str, script: str) -> str:
        return name + script

    text = documentation_page.page(openapi.document(list(openapi.endpoints(app))))
    assert "</h3><script>" in page(text).root.text
