"""A reply as a page that a person reads: its value as lists and tables, its links as links.

Invariant: every character that is not ours is escaped. The page has no script and loads nothing
(`SECURITY` says so to the browser as well), whatever was published.

Refuses to do: guess what a value means. Only `href` is one to follow, and only within this server.
"""

import re
from collections.abc import Mapping
from html import escape
from typing import Any, NamedTuple

import msgspec

from api.paging import with_query

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
DEPTH_MAX = 100  # what an envelope and a resource add to a body's own depth is less
# Browsers read "//" and "/\\" as another host, and so "/", a tab or a line end, "/".
_OWN = re.compile(r"/(?![/\\])[!-~]*")
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; }
h1, h2, h3 { overflow-wrap: anywhere; } h1 { font-size: 1.3em; } nav a { margin-right: 1em; }
table { border-collapse: collapse; } code { font-size: .95em; } i { color: #888; }
td, th { border: 1px solid #8884; padding: .2em .6em; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; } ol { padding-left: 2.5em; } li { margin-bottom: .7em; }
@media (prefers-color-scheme: dark) {
  body { background: #161616; color: #ddd; } a { color: #8bf; }
}
"""


class Leading(NamedTuple):
    """Where a page leads: each relation's URL, relative to it, and the parameters (as a query) that
    every link takes along, so that whoever came with a key in the URL can go on."""

    links: Mapping[str, str]
    carried: str = ""

    def url(self, target: str) -> str:
        return with_query(target, self.carried)


def html_page(title: str, value: Any, leading: Leading) -> str:
    anchors = " ".join(
        _anchor(leading.url(url), relation) for relation, url in leading.links.items()
    )
    return document(title, f"<nav>{anchors}</nav>\n{_Shown(leading).of(value)}")


def document(title: str, body: str) -> str:
    """`title` is text, `body` is HTML."""
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</html>\n"
    )


class _Shown:
    """A value as HTML."""

    def __init__(self, leading: Leading) -> None:
        self._leading = leading

    def of(self, value: Any, depth: int = DEPTH_MAX) -> str:
        if isinstance(value, dict | list) and (not value or depth == 0):
            return f"<i>{'…' if value else 'empty'}</i>"
        if isinstance(value, dict):
            rows = (self._row(name, inner, depth) for name, inner in value.items())
            return f"<table>{''.join(rows)}</table>"
        if isinstance(value, list):
            items = (f"<li>{self.of(item, depth - 1)}</li>" for item in value)
            return f'<ol start="0">{"".join(items)}</ol>'
        return escape(value) if isinstance(value, str) else f"<code>{_plain(value)}</code>"

    def _row(self, name: str, value: Any, depth: int) -> str:
        is_link = name == "href" and isinstance(value, str) and _OWN.fullmatch(value)
        shown = _anchor(self._leading.url(value), value) if is_link else self.of(value, depth - 1)
        return f"<tr><th>{escape(name)}</th><td>{shown}</td></tr>"


def _anchor(url: str, text: str) -> str:
    return f'<a href="{escape(url)}">{escape(text)}</a>'


def _plain(value: Any) -> str:
    """A number, true, false or null."""
    return escape(msgspec.json.encode(value).decode())
