"""History of a filtered channel: `[filter=…]name` in the path, as it is attached to."""

import base64
from itertools import chain

import pytest

from broker.messages import history
from broker.tenancy import NamespaceRules
from tests.api.rest_server import RestServer, bearer, decode, error_of, links, messages_path
from tests.api.test_rest_message import CHANNEL, changed, published

NAME = f'[filter=name == `"a"`]{CHANNEL}'


@pytest.fixture
async def m(server: RestServer) -> RestServer:
    await server.broker.apps.set_namespace(server.app, "m", NamespaceRules(mutable_messages=True))
    return server


async def fill(m: RestServer, names: str) -> None:
    messages = [{"name": name, "data": str(number)} for number, name in enumerate(names)]
    assert (await m.publish(CHANNEL, messages)).status_code == 201


async def pages(m: RestServer, query: str) -> list[list[str]]:
    """The data of each page's messages."""
    found, following = [], query
    while True:
        reply = await m.client.get(f"{messages_path(NAME)}?{following}")
        assert reply.status_code == 200, reply.text
        found.append([message["data"] for message in decode(reply)])
        linked = links(reply, "messages")
        if "next" not in linked:
            return found
        following = linked["next"]


@pytest.mark.parametrize("direction", ["forwards", "backwards"])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
async def test_pages_hold_what_matches(m: RestServer, limit: int, direction: str) -> None:
    await fill(m, "abbabaabb")
    found = await pages(m, f"limit={limit}&direction={direction}")
    expected = ["0", "3", "5", "6"]
    assert list(chain.from_iterable(found)) == (
        expected if direction == "forwards" else expected[::-1]
    )
    assert all(len(page) <= limit for page in found)


@pytest.mark.parametrize("direction", ["forwards", "backwards"])
async def test_pages_that_looked_at_many_may_be_short(
    m: RestServer, monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    """Even empty: the next goes on. Nothing is told twice."""
    monkeypatch.setattr(history, "SCANNED_MAX", 3)
    await fill(m, "abbbbbbabba")
    found = await pages(m, f"limit=2&direction={direction}")
    expected = ["0", "7", "10"]
    assert list(chain.from_iterable(found)) == (
        expected if direction == "forwards" else expected[::-1]
    )
    assert [] in found


async def test_messages_are_judged_as_they_stand(m: RestServer) -> None:
    first = await published(m, name="b", data="1")
    second = await published(m, name="a", data="2")
    await changed(m, first, name="a")
    await changed(m, second, name="b")
    assert await pages(m, "") == [["1"]]


async def test_expressions_as_sdks_write_them(m: RestServer) -> None:
    await fill(m, "ab")
    encoded = base64.b64encode(b'name == `"b"`').decode()
    found = await m.stored(f"[filter={encoded}]{CHANNEL}")
    assert [message["data"] for message in found] == ["1"]
    for wrong in ("name ==", "a[*]"):
        reply = await m.history(f"[filter={wrong}]{CHANNEL}")
        assert error_of(reply) == (400, 40000)
    assert error_of(await m.history("[meta]log")) == (400, 40010)


@pytest.mark.parametrize(
    ("resource", "may"), [("[filter]m:*", True), ("[*]*", True), ("*", False), ("m:*", False)]
)
async def test_which_keys_may(m: RestServer, resource: str, may: bool) -> None:
    await fill(m, "ab")
    token = m.token(**{"x-ably-capability": f'{{"{resource}":["history"]}}'})
    reply = await (await m.connect(bearer(token))).get(messages_path(NAME))
    assert reply.status_code == (200 if may else 401)


async def test_nothing_is_published_to_a_view(m: RestServer) -> None:
    assert error_of(await m.publish(NAME, {"name": "a"})) == (400, 40010)
