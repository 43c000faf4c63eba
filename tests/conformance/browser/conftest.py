"""One Chromium for the run, the page's own web server, and brokers with and without TLS.

The brokers are not those of the other SDKs: these tests kill them.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.conformance.browser import chromium
from tests.conformance.browser.chromium import Chromium, Page
from tests.conformance.browser.site import ABLY, serving_the_page
from tests.conformance.serving import ServerProcess, serving

REQUIRED = "TIDELOG_REQUIRE_SDK_TESTS"
# Longer than any test: whoever leaves during one has said so.
PATIENT = ("--set", "broker.presence_leave_delay_ms=110000")


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServerProcess]]:
    path = tmp_path_factory.mktemp("brokers")
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(serving(path / name, tls=name == "tls", options=PATIENT))
            for name in ("tls", "plain")
        }


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    with serving_the_page() as address:
        yield address


@pytest.fixture(scope="session")
def _browser(
    tmp_path_factory: pytest.TempPathFactory, brokers: dict[str, ServerProcess]
) -> Iterator[Chromium]:
    """It reads what it trusts when it starts."""
    browser = Chromium(tmp_path_factory.mktemp("chromium"), [brokers["tls"].ca_file])
    yield browser
    browser.end()


def _check_missing() -> None:
    lack = chromium.missing()
    if not lack and not ABLY.exists():
        lack = f"ably-js is not installed: npm ci --prefix {ABLY.parents[3]}"
    if lack and os.environ.get(REQUIRED):
        pytest.fail(f"{lack}, and {REQUIRED} is set")
    if lack:
        pytest.skip(lack)


@pytest.fixture
def open_page(request: pytest.FixtureRequest, site: str) -> Iterator[Callable[[], Page]]:
    """Opens the page once more, as in another browser."""
    _check_missing()
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
