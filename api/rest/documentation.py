"""`/openapi.json`, and `/docs`: the same for people. Made once, from the routes that there are."""

from functools import cache
from typing import Any

from quart import Blueprint, Response
from quart_trio import QuartTrio

from api import openapi
from api.html_page import SECURITY
from api.operation import operation
from api.replies import reply
from api.rest.documentation_page import page


def routes(app: QuartTrio) -> Blueprint:
    blueprint = Blueprint("documentation", __name__)

    @cache
    def document() -> dict[str, Any]:
        return openapi.document(list(openapi.endpoints(app)))

    @cache
    def rendered() -> str:
        return page(document())

    @blueprint.get("/openapi.json")
    @operation(
        "getOpenApi", "This API as OpenAPI", "Service", answer=dict[str, Any], is_public=True
    )
    async def openapi_json() -> Response:
        return reply(document())

    @blueprint.get("/docs")
    @operation(
        "getDocs",
        "This API as a page",
        "Service",
        answer=str,
        text_type="text/html",
        is_public=True,
    )
    async def docs() -> Response:
        return Response(rendered(), content_type="text/html", headers=SECURITY)

    return blueprint
