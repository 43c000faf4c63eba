"""Both SDKs change messages, annotate them, decode deltas and derive channels; and go on with it
when the broker is killed in the middle."""

import asyncio
from typing import Any

import pytest

from tests.conformance.on_asyncio import on_asyncio
from tests.conformance.realtime.client import Channel, Received, refusal
from tests.conformance.realtime.conftest import ALL_KEY
from tests.conformance.realtime.node_sdk import NodeClient
from tests.conformance.realtime.observed import Observed
from tests.conformance.realtime.proxy import Proxy
from tests.conformance.realtime.rest import Rest
from tests.conformance.realtime.sdk import Sdk
from tests.conformance.serving import ServerProcess

pytestmark = pytest.mark.conformance

DELTA = {"delta": "vcdiff"}
ANNOTATING = ("publish", "subscribe", "annotation_publish", "annotation_subscribe")


@pytest.fixture
def mutable(channel: str) -> str:
    return f"mutable:{channel}"


async def listening(target: Channel) -> Observed[Received]:
    inbox = await target.subscribe()
    await target.reaches("attached")
    return inbox


@on_asyncio
async def test_update_delete_append(sdk: Sdk, mutable: str) -> None:
    sdk = sdk.with_tokens()
    async with sdk.connected(client_id="me") as client, sdk.connected() as other:
        target = await client.channel(mutable)
        inbox = await listening(target)
        serial = await target.publish("n", "created")
        (created,) = await inbox.take(1)
        assert created.serial == serial
        said = {"description": "why", "metadata": {"k": "v"}}
        steps: list[tuple[str, Any]] = [
            ("append", " more"), ("update", {"a": [1]}), ("delete", ""), ("update", b"\x00\xff"),
            ("append", b"\x01"),
        ]  # fmt: skip
        versions = []
        for verb, data in steps:
            version = await target.change(verb, {"serial": serial, "data": data}, said)
            told = await inbox.one()
            assert (told.action, told.data) == (f"message.{verb}", data)
            assert (told.serial, told.id, told.name) == (serial, created.id, "n")
            assert told.version["serial"] == version
            assert told.version["clientId"] == "me"
            assert told.version["description"] == "why"
            versions.append(version)
        found = await target.message(serial)
        assert (found.action, found.data) == ("message.update", b"\x00\xff\x01")
        kept = [(one.action, one.data) for one in await target.versions(serial)]
        assert kept == [
            ("message.create", "created"),
            ("message.update", "created more"),
            ("message.update", {"a": [1]}),
            ("message.delete", ""),
            ("message.update", b"\x00\xff"),
            ("message.update", b"\x00\xff\x01"),
        ]
        rewound = await other.channel(mutable, params={"rewind": "1"})
        assert (await (await listening(rewound)).one()).data == b"\x00\xff\x01"
        (listed,) = await target.history()
        assert (listed.data, listed.version["serial"]) == (b"\x00\xff\x01", versions[-1])


@on_asyncio
async def test_an_append_is_told_whole_first_to_who_came_late(sdk: Sdk, mutable: str) -> None:
    async with sdk.connected() as client, sdk.connected() as late:
        target = await client.channel(mutable)
        inbox = await listening(target)
        serial = await target.publish("n", "a")
        late_inbox = await listening(await late.channel(mutable))
        for letter in "bc":
            await target.append(serial, letter)
        told = [(one.action, one.data) for one in await inbox.take(3)]
        assert told == [
            ("message.create", "a"), ("message.append", "b"), ("message.append", "c"),
        ]  # fmt: skip
        told = [(one.action, one.data) for one in await late_inbox.take(2)]
        assert told == [("message.update", "ab"), ("message.append", "c")]


@on_asyncio
async def test_what_is_refused(one_sdk: Sdk, channel: str, mutable: str) -> None:
    own = {"mutable:*": ["publish", "subscribe", "message-update-own"]}
    issuer = one_sdk.with_tokens().issuer(client_id="me", capability=own)
    async with one_sdk.connected() as client, one_sdk.connected(issue=issuer) as limited:
        fixed, target = await client.channel(channel), await client.channel(mutable)
        serial = await fixed.publish("n", "d")
        assert await refusal(fixed.append(serial, "x")) == (400, 93002)
        reaction = {"type": "t:total.v1"}
        assert await refusal(fixed.annotate("publish", serial, reaction)) == (400, 93002)
        assert await refusal(target.append(serial, "x")) == (404, 40400)
        serial = await target.publish("n", "d")
        assert await refusal(target.append(serial, b"x")) == (400, 40013)
        mine = await limited.channel(mutable)
        assert await refusal(mine.append(serial, "x")) == (401, 40160)
        assert await refusal(mine.annotate("publish", serial, reaction)) == (401, 40160)
        await mine.append(await mine.publish("n", "mine"), "x")


KINDS: dict[str, Any] = {
    "total.v1": lambda found: found["total"],
    "flag.v1": lambda found: found["clientIds"],
    "distinct.v1": lambda found: found["x"]["clientIds"],
    "unique.v1": lambda found: found["x"]["clientIds"],
    "multiple.v1": lambda found: found["x"]["clientCounts"],
}


@on_asyncio
async def test_annotations_of_every_kind(sdk: Sdk, mutable: str) -> None:
    sdk = sdk.with_tokens()
    expected = dict(zip(KINDS, (1, ["me"], ["me"], ["me"], {"me": 1}), strict=True))
    async with sdk.connected(client_id="me") as client:
        target = await client.channel(mutable, modes=ANNOTATING)
        inbox, each = await listening(target), await target.watch_annotations()
        serial = await target.publish("n", "d")
        await inbox.one()
        for method, shown in KINDS.items():
            one = {"type": f"t:{method}", "name": "x", "data": {"why": method}}
            await target.annotate("publish", serial, one)
            made = await each.one()
            assert (made.action, made.type, made.name) == ("create", f"t:{method}", "x")
            assert (made.message_serial, made.client_id) == (serial, "me")
            assert made.data == {"why": method}
            told = await inbox.one()
            assert (told.action, told.serial, told.name) == ("message.summary", serial, "n")
            assert shown(told.summary[f"t:{method}"]) == expected[method]
        found = await target.message(serial)
        for method, shown in KINDS.items():
            assert shown(found.summary[f"t:{method}"]) == expected[method]
        await target.annotate("delete", serial, {"type": "t:flag.v1"})
        assert (await each.one()).action == "delete"
        assert "t:flag.v1" not in (await inbox.one()).summary
        actions = [one.action for one in await target.annotations(serial)]
        assert actions == ["create"] * 5 + ["delete"]
        assert len(await target.annotations(serial, limit=2)) == 2


@on_asyncio
async def test_deltas(sdk: Sdk, channel: str) -> None:
    """The SDK's own decoder makes of them what was published, from the first to the last."""
    payloads: list[Any] = [
        "x" * 500, "x" * 499 + "y", {"a": ["x" * 300]}, {"a": ["x" * 301]}, b"\x00" * 400, "",
        "naïve \U0001f600" * 20, None, "x", b"\xff", [], ["z"],
    ]  # fmt: skip
    async with sdk.connected() as client, sdk.connected() as publisher:
        target = await client.channel(channel, params=DELTA)
        inbox = await listening(target)
        assert (await target.attachment()).params == DELTA
        source = await publisher.channel(channel)
        for payload in payloads:
            await source.publish("n", payload)
        await source.publish_all([{"name": "n", "data": payload} for payload in payloads])
        told = await inbox.take(2 * len(payloads))
        assert [one.data for one in told] == payloads * 2
        deltas = sum("delta" in (one.extras or {}) for one in told)
        # Not the first, not what has no data, nor what comes behind that or behind an empty one.
        assert deltas == 2 * len(payloads) - 1 - 2 - 4
        assert target.changes.unread == []


@on_asyncio
async def test_deltas_after_the_transport_was_lost(one_sdk: Sdk, channel: str) -> None:
    async with (
        Proxy(one_sdk.server.port) as proxy,
        one_sdk.connected(via=proxy) as client,
        Rest(one_sdk.server) as rest,
    ):
        target = await client.channel(channel, params=DELTA)
        inbox = await listening(target)
        for number in range(3):
            await rest.publish(channel, {"data": "x" * 200 + str(number)})
        await inbox.take(3)
        proxy.cut()
        await client.reaches("disconnected")
        for number in range(3, 6):
            await rest.publish(channel, {"data": "x" * 200 + str(number)})
        await client.reaches("connected")
        assert (await target.reaches("attached")).resumed is True
        for number in range(6, 9):
            await rest.publish(channel, {"data": "x" * 200 + str(number)})
        assert [one.data[-1] for one in await inbox.take(6)] == list("345678")


@on_asyncio
async def test_derived_channels(node_sdk: Sdk, mutable: str) -> None:
    """ably-js' getDerived: live, rewound, with deltas, and with messages that begin to match."""
    expression = 'name == `"a"` && headers.kind == `1`'
    extras = {"headers": {"kind": 1}}
    async with node_sdk.connected(key=ALL_KEY) as client, Rest(node_sdk.server) as rest:
        assert isinstance(client, NodeClient)
        for number in range(4):
            message = {"name": "ab"[number % 2], "data": str(number), "extras": extras}
            await rest.publish(mutable, message, {"name": "a", "data": "no headers"})
        params = {"rewind": "1", **DELTA}
        target = await client.derived(mutable, expression, params=params)
        inbox = await listening(target)
        assert (await inbox.one()).data == "2"
        whole = await client.channel(mutable)
        serial = await whole.publish_all([{"name": "b", "data": "late", "extras": extras}])
        await whole.append(serial[0], "r")
        await whole.change("update", {"serial": serial[0], "name": "a"})
        told = await inbox.one()
        assert (told.action, told.data) == ("message.update", "later")
        await whole.append(serial[0], "!")
        assert (await inbox.one()).data == "!"
        assert [one.data for one in await target.history()] == ["later!", "2", "0"]
        assert await refusal(target.publish("a", "x")) == (400, 40010)


def applied(texts: dict[str | None, str], told: list[Received]) -> None:
    """As a client shows messages: fragments behind what it has."""
    for one in told:
        if one.action == "message.append":
            texts[one.serial] += one.data
        elif one.action != "message.summary":
            texts[one.serial] = one.data


@on_asyncio
async def test_kill_9_in_a_stream_of_appends(
    one_sdk: Sdk, own_server: ServerProcess, mutable: str
) -> None:
    """What was in doubt is sent again and appended once; the subscriber ends with the text that the
    history has."""
    sdk = one_sdk.with_tokens().to(own_server)
    words = [f"{number} " for number in range(200)]
    async with (
        Proxy(own_server.port) as quiet,
        sdk.connected(via=quiet) as writer,
        sdk.connected() as reader,
    ):
        source, target = await writer.channel(mutable), await reader.channel(mutable)
        inbox = await listening(target)
        serial = await source.publish("n", "")
        texts: dict[str | None, str] = {}
        applied(texts, await inbox.take(1))
        quiet.hold()
        writing = asyncio.gather(*(source.append(serial, word) for word in words[:100]))
        applied(texts, await inbox.take(60))
        await asyncio.to_thread(own_server.kill)
        assert not writing.done()
        await reader.reaches("disconnected")
        quiet.cut()
        quiet.release()
        await writer.reaches("disconnected")
        later = asyncio.gather(*(source.append(serial, word) for word in words[100:]))
        await asyncio.to_thread(own_server.start)
        await writer.reaches("connected")
        assert (await target.reaches("attached")).resumed is True
        versions = await writing + await later
        assert versions == sorted(set(versions))
        end = await source.publish("n", "end")
        applied(texts, await inbox.until(lambda message: message.serial == end))
        assert texts[serial] == "".join(words)
        assert (await target.message(serial)).data == "".join(words)


@on_asyncio
async def test_kill_9_in_a_stream_of_annotations(
    one_sdk: Sdk, own_server: ServerProcess, mutable: str
) -> None:
    """Each counts once, and each is told once to who wants them."""
    sdk = one_sdk.with_tokens().to(own_server)
    reaction = {"type": "t:multiple.v1", "name": "x"}
    async with (
        Proxy(own_server.port) as quiet,
        sdk.connected(via=quiet, client_id="me") as writer,
        sdk.connected() as reader,
    ):
        source = await writer.channel(mutable)
        target = await reader.channel(mutable, modes=ANNOTATING)
        inbox, each = await listening(target), await target.watch_annotations()
        serial = await source.publish("n", "d")
        await inbox.one()
        quiet.hold()
        writing = asyncio.gather(
            *(source.annotate("publish", serial, reaction) for _ in range(100))
        )
        seen = await each.take(60)
        await asyncio.to_thread(own_server.kill)
        assert not writing.done()
        await reader.reaches("disconnected")
        quiet.cut()
        quiet.release()
        await writer.reaches("disconnected")
        await asyncio.to_thread(own_server.start)
        await writer.reaches("connected")
        assert (await target.reaches("attached")).resumed is True
        await writing
        seen += await each.take(100 - len(seen))
        end = await source.publish("n", "end")
        told = await inbox.until(lambda message: message.serial == end)
        counted = [one.summary for one in told if one.action == "message.summary"][-1]
        assert counted["t:multiple.v1"]["x"]["clientCounts"] == {"me": 100}
        assert counted == (await target.message(serial)).summary
        listed = await target.annotations(serial)
        assert [one.serial for one in seen] == [one.serial for one in listed]
