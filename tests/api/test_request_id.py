"""Which request ids are taken from a client, and which are replaced."""

from typing import Any

import pytest

from api.request_id import choose, identified, request_id


def scope(header: str | None = None, query: str = "") -> dict[str, Any]:
    headers = [] if header is None else [(b"x-request-id", header.encode("latin-1"))]
    return {"type": "http", "headers": headers, "query_string": query.encode("latin-1")}


@pytest.mark.parametrize("sent", ["a", "A-1_2.3~4:5@6+7/8=", "x" * 128])
def test_a_valid_id_is_kept(sent: str) -> None:
    assert choose(scope(sent)) == sent
    assert choose(scope(sent, "request_id=other")) == sent


@pytest.mark.parametrize("sent", ["", " ", "a b", "a\r\nb", "é", "x" * 129, '"', "<", "a\n"])
def test_an_invalid_id_is_replaced(sent: str) -> None:
    assert choose(scope(sent)) not in (sent, "")
    assert choose(scope(sent, "request_id=other")) == "other"


@pytest.mark.parametrize("query", ["", "request_id=", "request_id=%0a", "&" * 500, "%ff=%ff&a"])
def test_without_one_each_request_gets_its_own(query: str) -> None:
    assert choose(scope(query=query)) != choose(scope(query=query))


async def test_the_id_is_known_while_the_request_is_served() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(request_id.get())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        seen.append(message)

    await identified(app)(scope("mine"), None, send)
    assert seen[0] == "mine"
    assert seen[1]["headers"] == [(b"a", b"b"), (b"x-request-id", b"mine")]
    assert seen[2] == {"type": "http.response.body", "body": b""}


async def test_what_is_no_request_passes() -> None:
    passed: list[Any] = []

    async def app(*args: Any) -> None:
        passed.append(args)

    await identified(app)({"type": "lifespan"}, 1, 2)
    assert passed == [({"type": "lifespan"}, 1, 2)]
