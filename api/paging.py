"""Links between pages: `<./messages?limit=2&…>; rel="next"` (RFC 5988; reference 1.4, TG).

URLs are relative, their only word is the last segment of the path, and every value is
percent-encoded: SDKs split the header at commas and match the URL with `\\w+`.

A cursor is a place in an order of the broker's own, opaque to clients.
"""

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from msgspec import Meta

from api.parameters import Count, Params
from broker.errors import BadRequest
from broker.messages.history import LIMIT_DEFAULT

INVALID_VALUE = 40003
CURSOR_BYTES_MAX = 512
Links = dict[str, str]
Query = Mapping[str, Any]
Cursor = Annotated[str, Meta(description="as links have it")]


class PageParams(Params, frozen=True, kw_only=True):
    """Of a list that is asked for nothing but its pages."""

    limit: Annotated[Count, Meta(description="items of a page")] = LIMIT_DEFAULT
    cursor: Cursor = ""


def links(word: str, first: Query, current: Query, following: Query | None) -> Links:
    """Relation -> URL; `next` only where there is one. What is None is left out of a query."""
    pages = {"first": first, "current": current, "next": following}
    return {relation: _url(word, query) for relation, query in pages.items() if query is not None}


def _url(word: str, query: Query) -> str:
    return with_query(f"./{word}", query_of(query))


def query_of(parameters: Query) -> str:
    """What is None is left out."""
    named = {name: value for name, value in parameters.items() if value is not None}
    return urlencode(named, quote_via=quote, safe="")


def with_query(url: str, query: str) -> str:
    """A URL with more parameters."""
    if not query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{query}"


def links_by_cursor(word: str, query: Query, after: str, following: bytes | None) -> Links:
    """As `links`, of a resource in an order of the broker's own. `after`: the cursor that this page
    began behind, "" for none; `following`: where the next page begins."""
    beyond = urlsafe_b64encode(following).decode() if following else None
    return links_behind(word, query, after, beyond)


def links_behind(word: str, query: Query, after: str | None, following: str | None) -> Links:
    """As `links`, where pages differ by their cursor only."""
    return links(
        word,
        query,
        {**query, "cursor": after or None},
        {**query, "cursor": following} if following else None,
    )


def page_limit(limit: int, limit_max: int) -> int:
    """Raises BadRequest 40003."""
    if limit > limit_max:
        raise BadRequest(f"limit must be between 1 and {limit_max}", INVALID_VALUE)
    return limit


def read_cursor(text: str) -> bytes:
    """b"" for none. Raises BadRequest 40003 for one that is none of ours."""
    try:
        place = b64decode(text, altchars=b"-_", validate=True)
    except ValueError:  # binascii.Error is one
        place = None
    if place is None or len(place) > CURSOR_BYTES_MAX:
        raise BadRequest("unknown cursor", INVALID_VALUE)
    return place
