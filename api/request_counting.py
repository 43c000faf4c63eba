"""Which requests an app made, for its statistics: told apart by route, and by how they ended.
And for the operator, how many there were of each API, whoever made them.

A request is an app's once its credentials have been checked, or, when it asks for a token, once it
has named one of the app's keys. What comes with no credentials, or wrong ones, is nobody's.
"""

from collections.abc import Awaitable, Callable

from quart import Response, current_app, g, request

from api.trace_context import noted
from broker import Broker

_TOKEN_REQUESTS = frozenset({"tokens.request_token"})
_PUBLISHES = frozenset({"messages.publish", "batch_publish.publish"})
_PUSH = "push"
_PROTOCOLS = {"tidelog": "rest", "tidelog_beams": "beams", "tidelog-matrix": "matrix"}


def of_app(app: str) -> None:
    """The current request is this app's."""
    g.counted_app = app


def counting(broker: Broker) -> Callable[[Response], Awaitable[Response]]:
    """What an application does after each request."""

    async def count(response: Response) -> Response:
        activity = broker.epoch.activity
        app, status = g.get("counted_app"), response.status_code
        protocol, refused_code = _PROTOCOLS[current_app.name], g.get("refused_code")
        broker.answers.request(protocol, status)
        if (note := noted(request.scope)) is not None:
            note.route = str(request.url_rule) if request.url_rule else None
            note.app, note.code = app, refused_code
        if refused_code is not None:
            broker.answers.refused(protocol, refused_code)
        if app is not None:
            activity.api_request(app, _family(), status)
            if status >= 400 and request.endpoint in _PUBLISHES:
                activity.publish_refused(app, "rest", status)
        return response

    return count


def _family() -> str:
    if request.endpoint in _TOKEN_REQUESTS:
        return "tokenRequests"
    return "push" if (request.blueprint or "").startswith(_PUSH) else "other"
