"""The PyPI `ably` SDK publishes, and reads back what it meant."""

import asyncio
import json
from typing import Any

import pytest
from ably.types.message import Message, MessageAction
from ably.util.exceptions import AblyException

from tests.conformance.on_asyncio import on_asyncio
from tests.conformance.serving import Sdk, token

pytestmark = pytest.mark.conformance

PAYLOADS: list[Any] = [
    "text",
    "",
    "naïve \U0001f600 \u2028 ظ",
    b"bytes \x00\xff",
    bytearray(b"\x01\x02"),
    b"",
    {"a": [1, 2.5, None, True], "é": {}},
    [{"b": "c"}, "d"],
    {},
    [],
    None,
]
NAMES = [
    "slash/in",
    "a:b:c",
    "plus+",
    "space in",
    "emoji\U0001f600",
    "per%cent%2F",
    "quote'\"",
    "q?&=#",
]


@on_asyncio
async def test_payloads_of_every_kind(sdk: Sdk, channel: str) -> None:
    async with sdk.client() as ably:
        for number, payload in enumerate(PAYLOADS):
            result = await ably.channels.get(channel).publish(f"n{number}", payload)
            (newest,) = (await ably.channels.get(channel).history(limit=1)).items
            assert newest.name == f"n{number}"
            assert newest.data == payload
            assert type(newest.data) is (bytearray if isinstance(payload, bytes) else type(payload))
            assert result.serials == [newest.serial]
            assert newest.action is MessageAction.MESSAGE_CREATE
            assert newest.version.serial == newest.serial
            assert newest.version.timestamp == newest.timestamp


@on_asyncio
async def test_an_array_keeps_its_order(sdk: Sdk, channel: str) -> None:
    messages = [Message(f"n{number}", PAYLOADS[number % len(PAYLOADS)]) for number in range(100)]
    async with sdk.client() as ably:
        result = await ably.channels.get(channel).publish(messages)
        found = (await ably.channels.get(channel).history(direction="forwards")).items
    assert [(m.name, m.data) for m in found] == [(m.name, m.data) for m in messages]
    assert result.serials == [message.serial for message in found]
    assert result.serials == sorted(set(result.serials))


@pytest.mark.parametrize("name", NAMES)
@on_asyncio
async def test_channel_names(sdk: Sdk, channel: str, name: str) -> None:
    async with sdk.client() as ably:
        target = ably.channels.get(f"{channel}:{name}")
        await target.publish("n", name)
        assert [message.data for message in (await target.history()).items] == [name]


@on_asyncio
async def test_both_formats_read_what_the_other_wrote(sdk: Sdk, channel: str) -> None:
    other = Sdk(sdk.server, not sdk.binary)
    async with sdk.client() as ours, other.client() as theirs:
        for number, payload in enumerate(PAYLOADS):
            await ours.channels.get(channel).publish(str(number), payload)
        found = (await theirs.channels.get(channel).history(direction="forwards")).items
    assert [message.data for message in found] == PAYLOADS


@on_asyncio
async def test_extras_come_back(sdk: Sdk, channel: str) -> None:
    extras = {"headers": {"a": "b", "n": 1, "t": True}, "ref": {"type": "x", "timeserial": "y"}}
    async with sdk.client() as ably:
        await ably.channels.get(channel).publish(Message("n", "d", extras=extras))
        (found,) = (await ably.channels.get(channel).history()).items
    assert found.extras == extras


@on_asyncio
async def test_a_lost_reply_is_retried_without_a_double(
    sdk: Sdk, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RSL1k: the SDK made the ids, the first reply is lost, and it asks again at its fallback."""
    async with sdk.client(fallback_hosts=["127.0.0.1"]) as ably:
        real = ably.http._Http__client.send
        lost: list[Any] = []

        async def unlucky(request: Any) -> Any:
            reply = await real(request)
            if not lost:
                lost.append(reply)
                raise ConnectionError("the reply is lost")
            return reply

        monkeypatch.setattr(ably.http._Http__client, "send", unlucky)
        messages = [Message("a", "1"), Message("b", "2")]
        result = await ably.channels.get(channel).publish(messages)
        assert lost[0].status_code == 201
        found = (await ably.channels.get(channel).history(direction="forwards")).items
    assert [message.name for message in found] == ["a", "b"]
    assert result.serials == [message.serial for message in found]
    assert [message.id.rpartition(":")[2] for message in found] == ["0", "1"]


@pytest.mark.parametrize("idempotent", [True, False])
@on_asyncio
async def test_explicit_ids_are_published_once(sdk: Sdk, channel: str, idempotent: bool) -> None:
    async with sdk.client(idempotent_rest_publishing=idempotent) as ably:
        target = ably.channels.get(channel)
        results = [await target.publish(Message(id="order-7", data=n)) for n in ("a", "b")]
        batch = [Message(id=f"batch:{n}", data=str(n)) for n in range(3)]
        results += [await target.publish(batch) for _ in range(2)]
        found = (await target.history(direction="forwards")).items
    assert [message.id for message in found] == ["order-7", "batch:0", "batch:1", "batch:2"]
    assert found[0].data == "a"
    assert results[0].serials == results[1].serials == [found[0].serial]
    assert results[2].serials == results[3].serials == [message.serial for message in found[1:]]


@on_asyncio
async def test_without_ids_nothing_is_taken_for_a_repeat(sdk: Sdk, channel: str) -> None:
    async with sdk.client(idempotent_rest_publishing=False) as ably:
        for _ in range(3):
            await ably.channels.get(channel).publish("same", "same")
        assert len((await ably.channels.get(channel).history()).items) == 3


@on_asyncio
async def test_client_ids(sdk: Sdk, channel: str) -> None:
    """Implied by the credentials, or said by those who may say any."""
    options: dict[str, Any] = {"client_id": "mé"}
    if not sdk.server.tls:
        options = {"token": token(claims={"x-ably-clientId": "mé"})}
    async with sdk.client(**options) as ably:
        await ably.channels.get(channel).publish("implied", "x")
        await ably.channels.get(channel).publish(Message("said", "x", client_id="mé"))
        found = (await ably.channels.get(channel).history()).items
    assert [message.client_id for message in found] == ["mé", "mé"]
    wildcard = {"key": None, "token": token(claims={"x-ably-clientId": "*"})}
    async with sdk.client(**wildcard) as ably:
        await ably.channels.get(channel).publish(Message("anyone", "x", client_id="you"))
        (newest,) = (await ably.channels.get(channel).history(limit=1)).items
    assert newest.client_id == "you"


@on_asyncio
async def test_encrypted_messages(sdk: Sdk, channel: str) -> None:
    """Opaque to us; an SDK with the key reads them, one without sees the ciphertext."""
    pytest.importorskip("Crypto", reason="ably[crypto] is not installed")
    cipher = {"key": bytes(range(16))}
    async with sdk.client() as ably, sdk.client() as outsider:
        target = ably.channels.get(channel, cipher=cipher)
        for payload in PAYLOADS[:-1]:
            await target.publish("n", payload)
        found = (await target.history(direction="forwards")).items
        assert [message.data for message in found] == PAYLOADS[:-1]
        (seen,) = (await outsider.channels.get(channel).history(limit=1)).items
        assert seen.encoding.endswith("cipher+aes-128-cbc")


async def refusal(publishing: Any) -> tuple[int, int]:
    with pytest.raises(AblyException) as refused:
        await publishing
    return refused.value.status_code, refused.value.code


@on_asyncio
async def test_bad_input_is_refused(sdk: Sdk, channel: str) -> None:
    async with sdk.client() as ably:
        target = ably.channels.get(channel)
        plain = Message("n", "d")
        for messages, expected in (
            ([Message("n", "x" * 65_537)], (413, 40009)),
            ([Message("n", "x" * 700) for _ in range(100)], (413, 40009)),
            ([Message("n") for _ in range(1001)], (400, 40034)),
            ([Message("n", id="a:1"), Message("n", id="a:0")], (400, 40031)),
            ([Message("n", extras={"surprise": 1})], (400, 40032)),
            ([Message("n", connection_key="nobody's")], (400, 40006)),
            ([plain, Message("n", extras={"ephemeral": True})], (400, 40030)),
        ):
            assert await refusal(target.publish(messages)) == expected
        assert await refusal(target.publish(plain, {"_forceNack": True})) == (400, 40099)
        assert await refusal(ably.channels.get("[bad").publish("n", "d")) == (400, 40010)
        assert (await target.history()).items == []


@on_asyncio
async def test_many_publishes_at_once(sdk: Sdk, channel: str) -> None:
    async with sdk.client() as ably:
        target = ably.channels.get(channel)
        results = await asyncio.gather(*(target.publish("n", str(n)) for n in range(50)))
        found = (await target.history()).items
    assert {m.serial: m.data for m in found} == {
        result.serials[0]: str(number) for number, result in enumerate(results)
    }


@on_asyncio
async def test_raw_requests(sdk: Sdk, channel: str) -> None:
    """`rest.request` sends strings and bytes alike as the old raw type (reference 1.1)."""
    path = f"/channels/{channel}/messages"
    async with sdk.client() as ably:
        reply = await ably.request("POST", path, "5", body={"name": "n", "data": {"a": "b"}})
        assert (reply.status_code, reply.success) == (201, True)
        (item,) = reply.items
        assert item["channel"] == channel
        assert item["messageId"]
        (found,) = (await ably.channels.get(channel).history()).items
        assert json.loads(json.dumps(found.data)) == {"a": "b"}
