"""One Chromium, the page's own web server, and brokers with and without TLS.

The brokers are not those of the other SDKs: these tests kill them.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.conformance.browser import chromium
from tests.conformance.browser.chromium import Chromium, Page
from tests.conformance.browser.site import serving_the_page, skip_without
from tests.conformance.serving import ServerProcess, serving

# Longer than any test: whoever leaves during one has said so.
PATIENT = ("--set", "broker.presence_leave_delay_ms=110000")


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServerProcess]]:
    path = tmp_path_factory.mktemp("brokers")
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(serving(path / name, tls=name == "tls", options=PATIENT))
            for name in ("tls", "plain")
        }


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with serving_the_page() as address:
        yield address


@pytest.fixture(scope="module")
def _browser(
    tmp_path_factory: pytest.TempPathFactory, brokers: dict[str, ServerProcess]
) -> Iterator[Chromium]:
    """It reads what it trusts when it starts."""
    browser = Chromium(tmp_path_factory.mktemp("chromium"), [brokers["tls"].ca_file])
    yield browser
    browser.end()


@pytest.fixture
def open_page(request: pytest.FixtureRequest, site: str) -> Iterator[Callable[[], Page]]:
    """Opens the page once more, as in another browser."""
    skip_without(chromium.missing())
    browser: Chromium = request.getfixturevalue("_browser")
    with ExitStack() as stack:

        def opened() -> Page:
            page = browser.open(site)
            stack.callback(page.close)
            return page

        yield opened


@pytest.fixture
def page(open_page: Callable[[], Page]) -> Page:
    return open_page()
