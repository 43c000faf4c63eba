"""The PyPI `ably` SDK pages through history, by time, both ways; and is told what is wrong."""

from typing import Any

import pytest
from ably.types.message import Message
from ably.util.exceptions import AblyAuthException, AblyException

from tests.conformance.on_asyncio import on_asyncio
from tests.conformance.serving import KEY, Sdk, token

pytestmark = pytest.mark.conformance

DIRECTIONS = ["forwards", "backwards"]


async def publish(target: Any, *names: str) -> None:
    await target.publish([Message(name, "x") for name in names])


def names(page: Any) -> list[str]:
    return [message.name for message in page.items]


@pytest.mark.parametrize("direction", DIRECTIONS)
@on_asyncio
async def test_paging(sdk: Sdk, channel: str, direction: str) -> None:
    """next and first, while messages arrive, as test/ably/rest/restchannelhistory_test.py does."""
    expected = [str(number) for number in range(7)]
    async with sdk.client() as ably:
        target = ably.channels.get(channel)
        await publish(target, *expected)
        if direction == "backwards":
            expected.reverse()
        first = page = await target.history(direction=direction, limit=3)
        found = names(page)
        while page.has_next():
            assert not page.is_last()
            await publish(target, "late")
            page = await page.next()
            assert names(await page.first()) == names(first)
            found += names(page)
        assert found == expected
        assert page.is_last()
        assert await page.next() is None


@pytest.mark.parametrize("direction", DIRECTIONS)
@on_asyncio
async def test_time_ranges_part_exactly(sdk: Sdk, channel: str, direction: str) -> None:
    async with sdk.client() as ably:
        for round_ in range(5):
            target = ably.channels.get(f"{channel}:{round_}")
            times = []
            for part in "abc":
                await publish(target, *[part] * 3)
                times.append(await ably.time())
            middle = await target.history(direction=direction, start=times[0], end=times[1])
            assert names(middle) == ["b"] * 3
            assert names(await target.history(direction=direction, end=times[0])) == ["a"] * 3
            assert names(await target.history(direction=direction, start=times[1])) == ["c"] * 3


@on_asyncio
async def test_an_empty_history(sdk: Sdk, channel: str) -> None:
    async with sdk.client() as ably:
        page = await ably.channels.get(channel).history()
        assert page.items == []
        assert page.is_last()
        assert (await page.first()).items == []


@on_asyncio
async def test_a_thousand_messages_in_one_page(sdk: Sdk, channel: str) -> None:
    async with sdk.client() as ably:
        target = ably.channels.get(channel)
        expected = [str(number) for number in range(1000)]
        await publish(target, *expected)
        page = await target.history(limit=1000, direction="forwards")
    assert names(page) == expected
    assert page.is_last()


@on_asyncio
async def test_raw_requests_page_and_show_errors(sdk: Sdk, channel: str) -> None:
    """As test/ably/rest/restrequest_test.py: items, headers, codes, no exception."""
    path = f"/channels/{channel}/messages"
    kind = "application/x-msgpack" if sdk.binary else "application/json"
    async with sdk.client() as ably:
        await publish(ably.channels.get(channel), *"abc")
        page = await ably.request("GET", path, "5", params={"limit": 2})
        assert [item["name"] for item in page.items] == ["c", "b"]
        assert dict(page.headers)["content-type"] == kind
        assert [item["name"] for item in (await page.next()).items] == ["a"]
        bad = await ably.request("GET", path, "5", params={"limit": "abc"})
        assert (bad.status_code, bad.success, bad.error_code) == (400, False, "40003")
        assert bad.error_message
        assert bad.items[0]["error"]["code"] == 40003
        missing = await ably.request("GET", "/not-found", "5")
        assert (missing.status_code, missing.error_code) == (404, "40400")


async def refusal(asking: Any) -> tuple[int, int]:
    with pytest.raises(AblyException) as refused:
        await asking
    return refused.value.status_code, refused.value.code


@on_asyncio
async def test_bad_parameters(sdk: Sdk, channel: str) -> None:
    async with sdk.client() as ably:
        target = ably.channels.get(channel)
        for params in ({"direction": "up"}, {"start": "soon"}, {"limit": -1}):
            assert await refusal(target.history(**params)) == (400, 40003)


@on_asyncio
async def test_bad_credentials(sdk: Sdk, channel: str) -> None:
    name, _, secret = KEY.partition(":")
    other = "x" * len(secret)
    keys = {
        f"{name}:{other}": (401, 40101),
        f"conform.unknown:{secret}": (401, 40400),
        f"nobody.key:{secret}": (401, 40101) if sdk.server.tls else (404, 40400),
    }
    for key, expected in keys.items():
        async with sdk.client_of(key) as ably:
            assert await refusal(ably.channels.get(channel).publish("n", "d")) == expected
            assert await refusal(ably.channels.get(channel).history()) == expected
    for bogus in ("garbage", "conform.garbage", "a.b.c"):
        async with sdk.client(key=None, token=bogus) as ably:
            assert await refusal(ably.channels.get(channel).publish("n", "d")) == (401, 40101)


@on_asyncio
async def test_an_expired_token(sdk: Sdk, channel: str) -> None:
    """A token error: the SDK would renew and try again, had it the means."""
    async with sdk.client(key=None, token=token(lifetime_s=-10)) as ably:
        with pytest.raises(AblyAuthException) as refused:
            await ably.channels.get(channel).history()
        assert refused.value.status_code in (401, 403)
    renewals = []

    async def renew(_: Any) -> str:
        renewals.append(1)
        return token(lifetime_s=3600 if len(renewals) > 1 else -10)

    async with sdk.client(key=None, token=None, auth_callback=renew) as ably:
        await ably.channels.get(channel).publish("n", "d")
        assert names(await ably.channels.get(channel).history()) == ["n"]
    assert len(renewals) == 2


@on_asyncio
async def test_capabilities(sdk: Sdk, channel: str) -> None:
    claims = {"x-ably-capability": f'{{"{channel}:*":["publish"],"{channel}:b":["history"]}}'}
    async with sdk.client(key=None, token=token(claims=claims)) as ably:
        a, b, outside = (ably.channels.get(f"{channel}{name}") for name in (":a", ":b", ""))
        await a.publish("n", "d")
        await b.publish("n", "d")
        assert names(await b.history()) == ["n"]
        assert await refusal(a.history()) == (401, 40160)
        assert await refusal(outside.publish("n", "d")) == (401, 40160)


@on_asyncio
async def test_the_time(sdk: Sdk) -> None:
    async with sdk.client() as ably:
        first, second = await ably.time(), await ably.time()
    assert isinstance(first, int)
    assert first <= second
