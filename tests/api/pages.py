"""A page of ours as a browser takes it apart: its links, and the value that it shows.

Invariant: a page that holds anything but our few elements and attributes, or a link that leads away
from the server, does not become a `Page`.
"""

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from api.html_page import STYLE

ATTRIBUTES = {
    "html": {"lang"},
    "meta": {"charset", "name", "content"},
    "a": {"href"},
    "ol": {"start"},
    "h3": {"id"},
}
PLAIN = (
    "title",
    "style",
    "h1",
    "h2",
    "nav",
    "table",
    "tr",
    "th",
    "td",
    "li",
    "p",
    "ul",
    "code",
    "i",
)
ELEMENTS = {*ATTRIBUTES, *PLAIN}
EMPTY = "what is empty, or too deep to be shown"
_WITHIN = re.compile(r"#[!-~]*|\./[!-~]*|/(?![/\\])[!-~]*|[\w.]+")
_VOID = {"meta"}


@dataclass
class Element:
    name: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    children: "list[Element | str]" = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, name: str) -> "list[Element]":
        inner = [child for child in self.children if isinstance(child, Element)]
        own = [self] if self.name == name else []
        return own + [found for child in inner for found in child.all(name)]


@dataclass
class Page:
    root: Element

    @property
    def title(self) -> str:
        (title,), (heading,) = self.root.all("title"), self.root.all("h1")
        assert title.text == heading.text
        return title.text

    @property
    def links(self) -> dict[str, str]:
        """Relation -> URL: where the page leads besides what its value says."""
        (nav,) = self.root.all("nav")
        return {anchor.text: anchor.attributes["href"] or "" for anchor in nav.all("a")}

    @property
    def hrefs(self) -> list[str]:
        return [anchor.attributes["href"] or "" for anchor in self.root.all("a")]

    @property
    def value(self) -> Any:
        """What `html_page` was given; containers that it does not show are EMPTY."""
        after = self.root.children[self.root.children.index(self.root.all("nav")[0]) + 1 :]
        assert isinstance(after[0], str)
        assert isinstance(after[-1], str)
        if len(after) == 1:
            return after[0].removeprefix("\n").removesuffix("\n")
        before, *shown, end = after
        assert (before, end) == ("\n", "\n")
        return _value(shown)


def page(html: str) -> Page:
    """Raises AssertionError for what no page of ours is."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    assert not parser.open, parser.open
    (root,) = parser.found
    (style,) = root.all("style")
    assert style.text == STYLE
    read = Page(root)
    assert all(_WITHIN.fullmatch(href) for href in read.hrefs), read.hrefs
    return read


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[Element] = []
        self.found: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ELEMENTS, tag
        assert {name for name, _ in attrs} <= ATTRIBUTES.get(tag, set()), (tag, attrs)
        assert len(dict(attrs)) == len(attrs)
        element = Element(tag, dict(attrs))
        (self.open[-1].children if self.open else self.found).append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag

    def handle_data(self, data: str) -> None:
        if not self.open:
            assert not data.strip(), data
            return
        children = self.open[-1].children
        if children and isinstance(children[-1], str):
            children[-1] += data
        else:
            children.append(data)

    def handle_decl(self, decl: str) -> None:
        assert decl == "doctype html"

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(data)


def _value(shown: "list[Element | str]") -> Any:
    if not shown:
        return ""
    (only,) = shown
    if isinstance(only, str):
        return only
    match only.name:
        case "table":
            return dict(_row(row) for row in only.all("tr") if row in only.children)
        case "ol":
            return [_value(item.children) for item in only.children if isinstance(item, Element)]
        case "code":
            return json.loads(only.text)
        case "i":
            return EMPTY
        case name:
            assert name == "a"
            return only.text


def _row(row: Element) -> tuple[str, Any]:
    heading, cell = row.children
    assert isinstance(heading, Element)
    assert isinstance(cell, Element)
    assert (heading.name, cell.name) == ("th", "td")
    return heading.text, _value(cell.children)
