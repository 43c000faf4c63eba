"""What any request may say about its reply: the format, an envelope, and how much of it.

Read before a route runs, so that a parameter that makes no sense is refused while nothing has
happened yet (reference 1.1, 1.5).
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, field
from quart import g, request

from api import parameters, shaping
from api.formats import Format, reply_format
from api.parameters import Params

_READING = ("GET", "HEAD")
_NAME = "[A-Za-z_$][A-Za-z0-9_$]*"


class Control(Params, frozen=True, kw_only=True):
    """`fields`, `flatten` and `select` are about what is read: requests that change something are
    answered as they are."""

    format: Annotated[
        str | None,
        Meta(description="json, jsonp, msgpack or html; an Accept header that names one wins"),
    ] = None
    callback: Annotated[
        str,
        Meta(
            pattern=rf"^{_NAME}(\.{_NAME})*$(?!\n)",
            max_length=128,
            description="the function that a JSONP reply calls",
        ),
    ] = "callback"
    envelope: Annotated[
        Literal["json", "jsonp", "msgpack", "html"] | None,
        Meta(
            description="status, headers and links in the body; the status of the reply is 200. "
            "Also its format, where nothing else names one"
        ),
    ] = None
    fields: Annotated[
        str | None, Meta(description="keep these fields: dotted paths with commas between them")
    ] = None
    flatten: Annotated[bool, Meta(description="one level of long keys")] = False
    select: Annotated[
        str | None,
        Meta(description="a map of what these dotted paths match; * is any one component"),
    ] = None
    request_id: Annotated[
        str | None,
        Meta(description="the id that logs and the X-Request-Id of the reply have"),
    ] = field(default=None, name="request_id")


class Wanted:
    """A request's wishes, checked: read once, before its route."""

    def __init__(self, given: Control) -> None:
        """Raises BadRequest 40003."""
        self.callback = given.callback
        self.is_enveloped = given.envelope is not None
        self.format: Format = reply_format(
            request.headers.get("Accept"), given.format or given.envelope
        )
        self._fields = shaping.paths(given.fields, "fields") if given.fields else ()
        self._select = shaping.paths(given.select, "select") if given.select else ()
        self._is_flat = given.flatten

    def shaped(self, value: Any) -> Any:
        """A reply's value as the request wants to see it."""
        if request.method not in _READING:
            return value
        if self._fields:
            value = shaping.only(value, self._fields)
        if self._select:
            value = shaping.selected(value, self._select)
        return shaping.flat(value) if self._is_flat else value


async def read_control() -> None:
    """Before every request: raises BadRequest 40003."""
    g.wanted = Wanted(parameters.read(Control, request.args))


def wanted() -> Wanted:
    """The current request's; one that could not be read is answered in JSON."""
    return getattr(g, "wanted", None) or Wanted(Control())
