"""Link headers: `<./messages?limit=2&…>; rel="next"` (RFC 5988; reference 1.4, TG).

URLs are relative, their only word is the last segment of the path, and every value is
percent-encoded: SDKs split the header at commas and match the URL with `\\w+`.
"""

from collections.abc import Mapping
from urllib.parse import quote, urlencode


def links(word: str, pages: Mapping[str, Mapping[str, str] | None]) -> list[tuple[str, str]]:
    """One Link header per relation that has a query."""
    return [
        ("Link", f'<./{word}?{urlencode(query, quote_via=quote, safe="")}>; rel="{relation}"')
        for relation, query in pages.items()
        if query is not None
    ]
