"""One Firefox, one push service and one broker for the run; a new origin for each test.

A page's device, its subscription and its notifications belong to its origin, so no test sees those
of another.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.browser.site import ABLY, Site, serving_the_page, skip_without
from tests.conformance.browser_push import firefox, push_service
from tests.conformance.browser_push.firefox import Firefox
from tests.conformance.browser_push.push_service import PushService
from tests.conformance.serving import ServerProcess, serving

LOOPBACK = ("--set", "push.allow_loopback_targets=true")
HOME = Path(__file__).parent
SCRIPT = "text/javascript; charset=utf-8"
FILES: Site = {
    "/": ("text/html; charset=utf-8", HOME / "page.html"),
    "/asked.js": (SCRIPT, HOME / "asked.js"),
    "/page.js": (SCRIPT, HOME / "page.js"),
    "/worker.js": (SCRIPT, HOME / "worker.js"),
    "/ably.js": (SCRIPT, ABLY),
    "/push.js": (SCRIPT, ABLY.with_name("push.umd.min.js")),
}


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    path = tmp_path_factory.mktemp("push_broker")
    with serving(path / "data", tls=False, options=LOOPBACK) as server:
        yield server


@pytest.fixture(scope="session")
def service() -> Iterator[PushService]:
    with push_service.running() as service:
        yield service


@pytest.fixture(scope="session")
def _browser(tmp_path_factory: pytest.TempPathFactory, service: PushService) -> Iterator[Firefox]:
    browser = Firefox(tmp_path_factory.mktemp("firefox"), service.websocket)
    yield browser
    browser.end()


@pytest.fixture
def files() -> Site:
    """What the page's web server has; other SDKs have pages of their own."""
    return FILES


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Iterator[Firefox]:
    """The browser, showing the page of an origin that it never saw before."""
    skip_without(firefox.missing())
    browser: Firefox = request.getfixturevalue("_browser")
    files: Site = request.getfixturevalue("files")  # not before it is known that there is a browser
    with serving_the_page(files) as address:
        browser.go(address)
        yield browser
        browser.go("about:blank")  # or it would go on asking the site for things
