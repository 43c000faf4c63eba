"""Both SDKs connect, with every kind of credentials in both formats; or are told why not."""

from collections.abc import Callable

import pytest

from tests.conformance.on_asyncio import on_asyncio
from tests.conformance.realtime.client import Client
from tests.conformance.realtime.sdk import EVERY_WAY, ONE_WAY_EACH, Sdk, Way
from tests.conformance.serving import KEY, ServerProcess

pytestmark = pytest.mark.conformance

SdkOf = Callable[[Way], Sdk]


async def failure(client: Client) -> tuple[int | None, int | None] | None:
    async with client:
        await client.connect()
        return (await client.reaches("failed")).reason


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
@on_asyncio
async def test_connect(sdk_of: SdkOf, way: Way) -> None:
    async with sdk_of(way).connected(client_id="mé") as client:
        connection = await client.connection()
        assert connection.id
        assert connection.key
        assert connection.id in connection.key
        assert connection.client_id == "mé"
        assert 0 <= await client.ping() < 10_000
        await client.close_connection()
        await client.reaches("closed")
        await client.connect()
        await client.reaches("connected")
        assert (await client.connection()).id != connection.id


@pytest.mark.parametrize("way", ONE_WAY_EACH, ids=str)
@on_asyncio
async def test_connect_over_tls(
    sdk_of: SdkOf, way: Way, servers: dict[bool, ServerProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(servers[True].ca_file))
    async with sdk_of(way).to(servers[True]).connected() as client:
        channel = await client.channel("secret")
        inbox = await channel.subscribe()
        await channel.publish("n", "d")
        assert (await inbox.one()).data == "d"


@on_asyncio
async def test_connection_details(node_sdk: Sdk) -> None:
    """Only ably-js shows them."""
    async with node_sdk.connected(client_id="me") as client:
        details = (await client.connection()).details
    assert details["connectionKey"]
    assert details["clientId"] == "me"
    assert details["maxMessageSize"] == 65_536
    assert details["connectionStateTtl"] == 120_000
    assert details["objectsGCGracePeriod"] == 86_400_000
    assert details["maxIdleInterval"] > 0
    assert details["maxFrameSize"] > 0
    assert details["serverId"]
    assert details["siteCode"]


@on_asyncio
async def test_bad_keys(one_sdk: Sdk) -> None:
    sdk = Sdk(one_sdk.name, one_sdk.binary, "key", one_sdk.server, one_sdk.node)
    secret = KEY.partition(":")[2]
    for key in (KEY + "x", f"conform.unknown:{secret}", f"nobody.root:{secret}"):
        assert await failure(sdk.client(key=key)) == (401, 40101), key


@pytest.mark.parametrize("token", ["garbage", "conform.garbage", "a.b.c"])
@on_asyncio
async def test_bad_tokens(one_sdk: Sdk, token: str) -> None:
    assert await failure(one_sdk.client(token=token)) == (401, 40101)


@on_asyncio
async def test_an_expired_token_and_no_other(one_sdk: Sdk) -> None:
    issuer = one_sdk.with_tokens().issuer(ttl_ms=-5_000)
    reason = await failure(one_sdk.client(token=await issuer.make()))
    assert reason
    assert reason[1] == 40171


@on_asyncio
async def test_an_expired_token_and_then_a_good_one(one_sdk: Sdk) -> None:
    sdk = one_sdk.with_tokens()
    issuer = sdk.issuer(ttl_ms=-5_000)
    async with sdk.client(issue=issuer) as client:
        issuer.after_the_next(ttl_ms=60_000)
        await client.connect()
        await client.reaches("connected")
        assert len(issuer.issued) == 2


@on_asyncio
async def test_a_client_that_its_token_does_not_name(one_sdk: Sdk) -> None:
    sdk = one_sdk.with_tokens()
    issuer = sdk.issuer(client_id="somebody")
    assert await failure(sdk.client(issue=issuer, client_id="else")) == (401, 40102)


@on_asyncio
async def test_a_wildcard_token_names_anybody(one_sdk: Sdk) -> None:
    sdk = one_sdk.with_tokens()
    issuer = sdk.issuer(client_id="*")
    async with sdk.connected(issue=issuer, client_id="anybody") as client:
        assert (await client.connection()).client_id == "anybody"


@on_asyncio
async def test_a_token_that_the_sdk_asks_for_itself(sdk_of: SdkOf) -> None:
    """RSA8: a TokenRequest that it signed with the key. (ably-python does so over REST.)"""
    async with sdk_of(Way("node", True, "key")).connected(
        use_token_auth=True, client_id="me"
    ) as client:
        assert (await client.connection()).client_id == "me"


@on_asyncio
async def test_pings_beside_each_other(one_sdk: Sdk) -> None:
    async with one_sdk.connected() as client:
        for _ in range(3):
            assert await client.ping() >= 0
