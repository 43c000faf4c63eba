"""Tokens end, change and are revoked while connections live on them."""

from uuid import uuid4

import pytest

from tests.conformance.on_asyncio import on_asyncio
from tests.conformance.realtime.client import refusal
from tests.conformance.realtime.credentials import HOUR_MS, Claims, Issuer
from tests.conformance.realtime.rest import Rest
from tests.conformance.realtime.sdk import Sdk

pytestmark = pytest.mark.conformance

SHORT_MS = 3_000


@on_asyncio
async def test_an_expiring_token_is_renewed(one_sdk: Sdk, channel: str) -> None:
    """A native one in one SDK and a JWT in the other, for it takes its time."""
    issuer = Issuer(one_sdk.server, one_sdk.is_node, Claims(ttl_ms=SHORT_MS))
    issuer.after_the_next(ttl_ms=HOUR_MS)
    async with one_sdk.connected(issue=issuer) as client, Rest(one_sdk.server) as rest:
        target = await client.channel(channel)
        inbox = await target.subscribe()
        await target.reaches("attached")
        await rest.publish(channel, {"name": "before"})
        await inbox.one()
        connection = (await client.connection()).id
        assert (await client.reaches("disconnected")).reason == (401, 40142)
        await rest.publish(channel, {"name": "between"})
        await client.reaches("connected")
        assert (await target.reaches("attached")).resumed is True
        assert (await client.connection()).id == connection
        assert (await inbox.one()).name == "between"
        assert len(issuer.issued) == 2


@on_asyncio
async def test_an_expiring_token_that_cannot_be_renewed(one_sdk: Sdk) -> None:
    token = await one_sdk.with_tokens().issuer(ttl_ms=SHORT_MS).make()
    async with one_sdk.connected(token=token) as client:
        reason = (await client.reaches("failed")).reason
        assert reason
        assert reason[1] in (40142, 40171)


@on_asyncio
async def test_less_capability(sdk: Sdk, channel: str) -> None:
    sdk = sdk.with_tokens()
    issuer = sdk.issuer(capability={channel: ["*"], f"{channel}:kept": ["*"]})
    async with sdk.connected(issue=issuer) as client:
        lost, kept = [await client.channel(name) for name in (channel, f"{channel}:kept")]
        await lost.attach()
        inbox = await kept.subscribe()
        connection = (await client.connection()).id
        issuer.change(capability={f"{channel}:kept": ["subscribe"]})
        await client.authorize()
        assert (await lost.reaches("failed")).reason == (401, 40160)
        assert (await client.connection()).id == connection
        assert await refusal(kept.publish("n")) == (401, 40160)
        async with Rest(sdk.server) as rest:
            await rest.publish(kept.name, {"name": "heard"})
        assert (await inbox.one()).name == "heard"
        assert {change.current for change in kept.changes.items} <= {"attaching", "attached"}


@on_asyncio
async def test_more_capability(sdk: Sdk, channel: str) -> None:
    sdk = sdk.with_tokens()
    issuer = sdk.issuer(capability={channel: ["*"]})
    async with sdk.connected(issue=issuer) as client:
        first, second = [await client.channel(name) for name in (channel, f"{channel}:more")]
        inbox = await first.subscribe()
        await first.reaches("attached")
        assert await refusal(second.publish("n")) == (401, 40160)
        issuer.change(capability={channel: ["*"], f"{channel}:more": ["*"]})
        await client.authorize()
        await second.attach()
        assert await second.publish("n")
        await first.publish("undisturbed")
        assert (await inbox.one()).name == "undisturbed"
        assert [change.current for change in first.changes.unread if change.refused] == []


@on_asyncio
async def test_another_client_id(one_sdk: Sdk) -> None:
    issuer = one_sdk.with_tokens().issuer(client_id="me")
    async with one_sdk.connected(issue=issuer) as client:
        issuer.change(client_id="you")
        assert (await refusal(client.authorize()))[1] == 40102
        if one_sdk.is_node:  # ably-python refuses by itself, and stays connected
            assert (await client.connection()).state == "failed"


@pytest.mark.parametrize("renewable", [True, False])
@on_asyncio
async def test_revocation(one_sdk: Sdk, renewable: bool) -> None:
    """Those of the client are gone at once; others stay; who can get a new one comes back."""
    async with Rest(one_sdk.server) as anybody:
        keys = [{"capability": '{"*":["*"]}', "revocableTokens": True}]
        app = await anybody.ask("POST", "/apps", json={"keys": keys})
    key = app["keys"][0]["keyStr"]
    bob, ann = [Issuer(one_sdk.server, True, Claims(client_id=n), key) for n in ("bob", "ann")]
    token = await bob.make()
    assert isinstance(token, dict)
    options = {"issue": bob} if renewable else {"token": token["token"]}
    async with (
        Rest(one_sdk.server, key) as rest,
        one_sdk.connected(issue=ann) as other,
        one_sdk.connected(**options) as client,
    ):
        target = await client.channel(str(uuid4()))
        await target.attach()
        (result,) = (await rest.revoke("clientId:bob"))["results"]
        assert result["target"] == "clientId:bob"
        if renewable:
            assert (await client.reaches("disconnected")).reason == (401, 40141)
            await client.reaches("connected")
            assert len(bob.issued) == 2
        else:
            reason = (await client.reaches("failed")).reason
            assert reason
            assert reason[1] in (40141, 40171)
        assert (await other.connection()).state == "connected"
        assert await other.ping() >= 0
