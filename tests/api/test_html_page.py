"""Replies as pages: whatever is in them, only our elements come out, and all of it is shown."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.html_page import DEPTH_MAX, SECURITY, Leading, document, html_page
from tests.api.pages import EMPTY, page

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</td></tr></table></style><b>",
    "<!-- ",
    "--><?php ",
    "]]><![CDATA[",
    "&lt;b&gt; &amp; &#60; &notanentity",
    "javascript:alert(1)",
    "</title>",
    "\0\x1b\u2028\u202e\ufeff",
]
text = st.sampled_from(HOSTILE) | st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(text | st.just("href"), inner, max_size=3)
    ),
    max_leaves=10,
)
finite = values.filter(lambda value: "inf" not in repr(value))
queries = st.sampled_from(["", "key=a.b%3Ac", "access_token=x&key=%22%3E"])


def shown(value: Any) -> Any:
    """What of a value a page tells."""
    if isinstance(value, dict | list) and not value:
        return EMPTY
    if isinstance(value, dict):
        return {name: shown(inner) for name, inner in value.items()}
    return [shown(item) for item in value] if isinstance(value, list) else value


@given(text, finite, st.dictionaries(text, st.just("./x?limit=1"), max_size=3), queries)
@example("t", {"href": "/\t/evil.example"}, {}, "key=a.b%3Ac")
@example("t", {"href": "/\n\\evil.example"}, {}, "key=a.b%3Ac")
def test_everything_is_shown_and_nothing_of_it_is_markup(
    title: str, value: Any, links: dict[str, str], carried: str
) -> None:
    """`page` refuses whatever is not ours, and links that lead elsewhere."""
    read = page(html_page(title, value, Leading(links, carried)))
    assert read.title == title
    assert read.value == shown(value)
    assert list(read.links) == list(links)
    assert all(
        url == f"./x?limit=1{'&' if carried else ''}{carried}" for url in read.links.values()
    )


@pytest.mark.parametrize(
    "href",
    [
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "/\r\\evil.example",
        "/a\tb",
        "/é",
        "/a b",
        "https://evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "\\\\evil.example",
        " /a",
        "a",
        "",
    ],
)
def test_what_leads_elsewhere_is_no_link(href: str) -> None:
    read = page(html_page("t", {"href": href}, Leading({}, "key=secret")))
    assert read.hrefs == []
    assert read.value == {"href": href}


def test_only_href_is_followed_and_takes_credentials_along() -> None:
    value = [{"href": "/channels/a%2Fb", "url": "/x"}, {"href": "/x?a=1"}, {"href": ["/x"]}]
    read = page(html_page("t", value, Leading({}, "key=a.b%3Ac")))
    assert read.hrefs == ["/channels/a%2Fb?key=a.b%3Ac", "/x?a=1&key=a.b%3Ac"]
    assert read.value == value
    assert page(html_page("t", value, Leading({}))).hrefs == ["/channels/a%2Fb", "/x?a=1"]


def test_a_link_to_another_page() -> None:
    leading = Leading({"first": "./channels?limit=1", "next": "./channels"}, "key=a.b%3Ac")
    read = page(html_page("t", [], leading))
    assert read.links == {
        "first": "./channels?limit=1&key=a.b%3Ac",
        "next": "./channels?key=a.b%3Ac",
    }


def test_depth_is_bounded() -> None:
    value: Any = "deep"
    for _ in range(DEPTH_MAX - 1):
        value = [value]
    assert page(html_page("t", value, Leading({}))).value == value
    for _ in range(10):
        value = {"a": value}
    told = html_page("t", value, Leading({}))
    page(told)
    assert "deep" not in told
    assert "<i>…</i>" in told


@pytest.mark.parametrize("title", HOSTILE)
def test_titles_are_text(title: str) -> None:
    assert page(document(title, "<nav></nav>\n")).title == title


def test_no_script_could_run() -> None:
    policy = dict(
        part.partition(" ")[::2] for part in SECURITY["Content-Security-Policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy.keys() == {
        "default-src",
        "style-src",
        "base-uri",
        "form-action",
        "frame-ancestors",
    }
