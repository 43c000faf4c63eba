"""ably-js in a Chromium whose page comes from another origin than the broker."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conformance.browser.chromium import Page, PageError
from tests.conformance.serving import KEY, ServerProcess

pytestmark = pytest.mark.conformance

WAYS = [
    ("tls", "key", "json"),
    ("tls", "token", "msgpack"),
    ("tls", "callback", "json"),
    ("plain", "callback", "msgpack"),
    ("plain", "token", "json"),
    ("plain", "key", "msgpack"),
]


# What ably-js needs in order to ask nobody but the broker.
ON_ITS_OWN = {"transports": ["web_socket"], "disableConnectivityCheck": True}


def options(broker: ServerProcess, *, client: str = "me", **more: Any) -> dict[str, Any]:
    port = {"tlsPort" if broker.tls else "port": broker.port}
    return {"endpoint": "localhost", "tls": broker.tls, "clientId": client, **port, **more}


def address(broker: ServerProcess) -> str:
    return f"{'https' if broker.tls else 'http'}://localhost:{broker.port}"


def protocols(page: Page, broker: ServerProcess) -> set[str]:
    """By which the page's requests to the broker were answered."""
    replies = [event["response"] for event in page.parameters("Network.responseReceived")]
    return {r["protocol"] for r in replies if r["url"].startswith(address(broker))}


def hosts(page: Page) -> set[str | None]:
    """All that the page tried to reach."""
    requests = [event["request"]["url"] for event in page.parameters("Network.requestWillBeSent")]
    websockets = [event["url"] for event in page.parameters("Network.webSocketCreated")]
    return {urlsplit(url).hostname for url in requests + websockets}


@pytest.mark.parametrize(("name", "way", "wire"), WAYS)
def test_everyday(
    page: Page, brokers: dict[str, ServerProcess], channel: str, name: str, way: str, wire: str
) -> None:
    broker = brokers[name]
    opening = options(broker, useBinaryProtocol=wire == "msgpack")
    assert page.call("connect", way, KEY, opening)["state"] == "connected"
    assert page.call("attach", channel) == "attached"
    data: list[list[Any]] = [["text", "naïve \U0001f600"], ["map", {"a": [1, None]}]]
    serials = [page.call("publish", channel, *message) for message in data]
    serials.append(page.call("publishBytes", channel, "bytes", [0, 255]))
    expected = [*data, ["bytes", {"bytes": [0, 255]}]]
    for found in (page.call("take", 3), page.call("history", channel)):
        assert [[m["name"], m["data"]] for m in found] == expected
        assert [[m["serial"]] for m in found] == serials
    page.call("enter", channel, {"mood": "good"})
    assert page.call("members", channel) == [[["me", {"mood": "good"}]]] * 2
    assert page.call("close") == "closed"
    assert protocols(page, broker) == {"h2" if broker.tls else "http/1.1"}


@pytest.mark.parametrize("credentials", ["include", "omit"])
def test_a_websocket_beside_http2(
    page: Page, brokers: dict[str, ServerProcess], channel: str, credentials: str
) -> None:
    """The browser holds an HTTP/2 connection to that very origin, and asks for no WebSocket on it
    (RFC 8441): it opens another connection, over HTTP/1.1. A browser keeps requests with and
    without credentials apart."""
    broker = brokers["tls"]
    page.call("fetched", f"{address(broker)}/time", {"credentials": credentials})
    assert protocols(page, broker) == {"h2"}
    assert page.call("connect", "key", KEY, options(broker))["state"] == "connected"
    (shaken,) = page.parameters("Network.webSocketHandshakeResponseReceived")
    assert shaken["response"]["status"] == 101
    assert page.call("publish", channel, "n", "d")
    assert page.call("history", channel)[0]["data"] == "d"
    assert protocols(page, broker) == {"h2"}


@pytest.mark.parametrize(("name", "more"), [("tls", {}), ("plain", ON_ITS_OWN)])
def test_kill_9(
    open_page: Callable[[], Page],
    brokers: dict[str, ServerProcess],
    channel: str,
    name: str,
    more: dict[str, Any],
) -> None:
    """The connection goes on where it was: same id, nothing lost or doubled, still a member."""
    broker = brokers[name]
    page, publisher = open_page(), open_page()
    here = options(broker, disconnectedRetryTimeout=500, **more)
    connected = page.call("connect", "callback", KEY, here)
    page.call("attach", channel)
    page.call("enter", channel, "here")
    page.call("publish", channel, "before", "1")
    restart(broker)
    publisher.call("publishOverRest", options(broker, key=KEY), channel, "meanwhile", "2")
    assert page.call("reaches", "connected")["id"] == connected["id"]
    page.call("publish", channel, "after", "3")
    assert [m["data"] for m in page.call("take", 3)] == ["1", "2", "3"]
    assert page.call("members", channel) == [[["me", "here"]]] * 2
    assert page.call("close") == "closed"
    if more:
        assert hosts(page) == {"localhost"}


def restart(broker: ServerProcess) -> None:
    broker.kill()
    broker.start()


def test_a_network_that_goes_and_comes(
    open_page: Callable[[], Page], brokers: dict[str, ServerProcess], channel: str
) -> None:
    """ably-js hears of both from the browser, and does not wait."""
    broker = brokers["tls"]
    page, publisher = open_page(), open_page()
    connected = page.call("connect", "token", KEY, options(broker))
    page.call("attach", channel)
    page.cut_off(True)
    page.call("reaches", "disconnected")
    publisher.call("publishOverRest", options(broker, key=KEY), channel, "meanwhile", "d")
    page.cut_off(False)
    assert page.call("reaches", "connected")["id"] == connected["id"]
    assert [m["data"] for m in page.call("take", 1)] == ["d"]


def test_reloading_the_page(
    open_page: Callable[[], Page],
    brokers: dict[str, ServerProcess],
    site: str,
    channel: str,
) -> None:
    """With `recover`, ably-js leaves the connection's key in the tab's storage, and goes on with it
    where the page ended."""
    broker = brokers["tls"]
    page, publisher = open_page(), open_page()
    kept = options(broker, recover=True)
    connected = page.call("connect", "key", KEY, kept)
    page.call("attach", channel)
    page.go(site)
    publisher.call("publishOverRest", options(broker, key=KEY), channel, "meanwhile", "d")
    assert page.call("connect", "key", KEY, kept)["id"] == connected["id"]
    page.call("attach", channel)
    assert [m["data"] for m in page.call("take", 1)] == ["d"]


def test_leaving_the_page(
    open_page: Callable[[], Page], brokers: dict[str, ServerProcess], site: str, channel: str
) -> None:
    """Unless it is to recover: the last thing that the page does is to close, so its member leaves
    then, and not after the grace of a lost connection."""
    broker = brokers["tls"]
    page, watcher = open_page(), open_page()
    watcher.call("connect", "key", KEY, options(broker, client="watcher"))
    watcher.call("attach", channel)
    page.call("connect", "key", KEY, options(broker))
    page.call("attach", channel)
    page.call("enter", channel, "here")
    watcher.call("happens", "me", "enter")
    page.go(site)
    watcher.call("happens", "me", "leave")


@pytest.mark.parametrize("name", ["tls", "plain"])
def test_refusals_can_be_read(page: Page, brokers: dict[str, ServerProcess], name: str) -> None:
    """By ably-js, which sends its credentials along."""
    broker = brokers[name]
    known = options(broker, key=KEY)
    for asked, expected in [
        ((options(broker, key="no.such:key"), "GET", "/channels/c/messages"), (401, 40101)),
        ((known, "GET", "/channels/%5Bno/messages"), (400, 40010)),
        ((known, "GET", "/nothing"), (404, 40400)),
        ((known, "PATCH", "/time"), (405, 40500)),
        ((known, "POST", "/channels/c/messages", {"data": "x" * 70_000}), (413, 40009)),
    ]:
        reply = page.call("request", *asked)
        assert (reply["statusCode"], reply["errorCode"]) == expected, asked
        assert reply["errorMessage"]


@pytest.mark.parametrize("name", ["tls", "plain"])
@pytest.mark.parametrize("credentials", ["include", "omit"])
def test_limits_can_be_read(
    page: Page, brokers: dict[str, ServerProcess], name: str, credentials: str
) -> None:
    """What is refused before it gets to the application, asked by other code than ably-js."""
    broker = brokers[name]
    limits: list[tuple[str, dict[str, Any], tuple[int, int]]] = [
        ("/channels/c/messages", {}, (401, 40101)),
        ("/channels/c/messages", {"method": "POST", "size": 2_200_000}, (413, 40009)),
        ("/time", {"method": "PUT", "headers": {"x-any": "1"}}, (405, 40500)),
    ]
    # A plain connection's first head, when too large, is refused without a look at its Origin.
    if broker.tls or credentials == "omit":
        limits += [
            ("/time?" + "u" * 9_000, {}, (414, 41400)),
            ("/time", {"headers": {"x-any": "h" * 20_000}}, (431, 43100)),
        ]
    for path, asking, (status, code) in limits:
        asked = asking | {"credentials": credentials}
        assert page.call("fetched", address(broker) + path, asked) == [status, code, code], path
    assert "Preflight" in {event["type"] for event in page.parameters("Network.responseReceived")}


@pytest.mark.parametrize("name", ["tls", "plain"])
def test_refused_connections(page: Page, brokers: dict[str, ServerProcess], name: str) -> None:
    broker = brokers[name]
    wrong = KEY.replace("secret", "guess!")
    refused = page.call("connect", "key", wrong, options(broker))
    assert (refused["state"], refused["code"]) == ("failed", 40101)
    (shaken,) = page.parameters("Network.webSocketHandshakeResponseReceived")
    assert shaken["response"]["status"] == 101
    with pytest.raises(PageError, match="40101"):
        page.call("connect", "token", wrong, options(broker))


def test_without_websockets_ably_js_keeps_trying(
    page: Page, brokers: dict[str, ServerProcess]
) -> None:
    """It falls back to comet, which we do not have: that must not fail the connection for good."""
    only_comet = options(brokers["tls"], transports=["xhr_polling"])
    refused = page.call("connect", "key", KEY, only_comet, "disconnected")
    assert (refused["state"], refused["code"]) == ("disconnected", 80003)
