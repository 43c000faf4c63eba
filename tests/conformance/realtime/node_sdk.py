"""ably-js, in a Node process that speaks newline-delimited JSON (node/driver.mjs beside us).

One process serves the whole run. A thread reads what it says and hands it to the event loop of the
test that asked; what comes for a test that is over is dropped.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.conformance.realtime.client import (
    Annotated,
    Attachment,
    Change,
    Channel,
    ChannelOptions,
    Client,
    ClientOptions,
    Connection,
    Received,
    Refused,
)
from tests.conformance.realtime.observed import WITHIN_S, Observed

HOME = Path(__file__).parents[1] / "node"


def missing() -> str | None:
    """What the tests of ably-js lack."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (HOME / "node_modules" / "ably").is_dir():
        return f"ably-js is not installed: npm ci --prefix {HOME}"
    return None


class NodeProcess:
    def __init__(self, log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                ["node", str(HOME / "driver.mjs")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **environment},
            )
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._observers: dict[int, tuple[Observed[Any], Callable[[Any], Any]]] = {}
        self._askers: dict[int, NodeClient] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def end(self) -> None:
        with self._process as process:
            assert process.stdin
            process.stdin.close()
            status = process.wait(WITHIN_S)
            self._reader.join(WITHIN_S)
        assert status == 0, self._log.read_text()

    async def ask(self, do: str, **arguments: Any) -> Any:
        number = next(self._ids)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        self.write({"id": number, "do": do, **arguments})
        try:
            async with asyncio.timeout(WITHIN_S):
                return await answer
        except TimeoutError:
            raise AssertionError(f"no answer: {do} {arguments}") from None

    def observe(self, observed: Observed[Any], convert: Callable[[Any], Any]) -> int:
        number = next(self._ids)
        self._observers[number] = (observed, convert)
        return number

    def opened(self, client: "NodeClient") -> int:
        number = next(self._ids)
        self._askers[number] = client
        return number

    def write(self, record: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(record).encode() + b"\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            record = json.loads(line)
            with contextlib.suppress(RuntimeError):  # the loop of that test is closed
                self._dispatch(record)

    def _dispatch(self, record: dict[str, Any]) -> None:
        if "id" in record:
            answer = self._answers.pop(record["id"])
            answer.get_loop().call_soon_threadsafe(_settle, answer, record)
        elif "observer" in record:
            observed, convert = self._observers[record["observer"]]
            observed.loop.call_soon_threadsafe(observed.add, convert(record["value"]))
        else:
            client = self._askers[record["client"]]
            client.changes.loop.call_soon_threadsafe(client.answer, record["question"])


def _settle(answer: "asyncio.Future[Any]", record: dict[str, Any]) -> None:
    if answer.done():
        return
    if "error" in record:
        answer.set_exception(_refused(record["error"]) or AssertionError("no error given"))
    else:
        answer.set_result(record["value"])


def _refused(error: dict[str, Any] | None) -> Refused | None:
    if not error:
        return None
    return Refused(error.get("statusCode"), error.get("code"), error["message"])


def _change(value: dict[str, Any]) -> Change:
    refused = _refused(value.get("error"))
    return Change(value["previous"], value["current"], refused, value.get("resumed"))


def _bytes_out(data: Any) -> Any:
    if isinstance(data, bytes | bytearray):
        return {"$bytes": base64.b64encode(data).decode()}
    return data


def _received(value: dict[str, Any]) -> Received:
    data = value.get("data")
    if isinstance(data, dict) and "$bytes" in data:
        data = base64.b64decode(data["$bytes"])
    return Received(
        id=value.get("id"),
        name=value.get("name"),
        data=data,
        client_id=value.get("clientId"),
        connection_id=value.get("connectionId"),
        timestamp=value.get("timestamp"),
        serial=value.get("serial"),
        extras=value.get("extras"),
        action=value.get("action"),
        encoding=value.get("encoding"),
        version=value.get("version") or {},
        summary=(value.get("annotations") or {}).get("summary") or {},
    )


def _annotated(value: dict[str, Any]) -> Annotated:
    return Annotated(
        value["action"].removeprefix("annotation."),
        value["type"],
        value.get("name"),
        value.get("serial"),
        value.get("messageSerial"),
        value.get("clientId"),
        value.get("data"),
    )


class NodeClient(Client):
    def __init__(self, node: NodeProcess, options: ClientOptions) -> None:
        self.node = node
        self.changes: Observed[Change] = Observed("connection")
        self._options = options
        self._number = node.opened(self)
        self._answering: set[asyncio.Task[None]] = set()

    async def ask(self, do: str, **arguments: Any) -> Any:
        return await self.node.ask(do, client=self._number, **arguments)

    async def open(self) -> None:
        observer = self.node.observe(self.changes, _change)
        asks = self._options.issue is not None
        await self.ask("open", options=self._wire(), asks=asks, observer=observer)

    def _wire(self) -> dict[str, Any]:
        options = self._options
        wire: dict[str, Any] = {
            "endpoint": "localhost",
            "tls": options.tls,
            "tlsPort" if options.tls else "port": options.port,
            "useBinaryProtocol": options.binary,
            "echoMessages": options.echo,
            "transportParams": options.transport_params,
            "disconnectedRetryTimeout": options.retry_ms,
        }
        given = {
            "clientId": options.client_id,
            "recover": options.recover,
            "token": options.token,
            "useTokenAuth": options.use_token_auth or None,
            "key": options.key if not (options.issue or options.token) else None,
        }
        return wire | {name: value for name, value in given.items() if value is not None}

    def answer(self, question: int) -> None:
        task = asyncio.ensure_future(self._answer(question))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, question: int) -> None:
        assert self._options.issue
        try:
            self.node.write({"answer": question, "value": await self._options.issue()})
        except Refused as refused:
            error = {"message": refused.message, "code": refused.code, "statusCode": refused.status}
            self.node.write({"answer": question, "error": error})

    async def connect(self) -> None:
        await self.ask("connect")

    async def close_connection(self) -> None:
        await self.ask("close")

    async def dispose(self) -> None:
        await self.ask("forget")

    async def connection(self) -> Connection:
        value = await self.ask("connection")
        return Connection(
            value.get("id"),
            value.get("key"),
            value["state"],
            value.get("clientId"),
            value.get("recoveryKey"),
            value.get("details") or {},
        )

    async def ping(self) -> float:
        return float(await self.ask("ping"))

    async def authorize(self) -> None:
        await self.ask("authorize")

    async def channel(
        self,
        name: str,
        params: dict[str, str] | None = None,
        modes: tuple[str, ...] | None = None,
        cipher_key: bytes | None = None,
    ) -> "NodeChannel":
        channel = NodeChannel(self, name)
        observer = self.node.observe(channel.changes, _change)
        options = _channel_options(ChannelOptions(params, modes, cipher_key))
        await self.ask("channel", channel=name, options=options, observer=observer)
        return channel

    async def derived(self, name: str, expression: str, **options: Any) -> "NodeChannel":
        """A channel of the messages that a filter matches. ably-python has none."""
        full = await self.ask(
            "derive",
            channel=name,
            filter=expression,
            options=_channel_options(ChannelOptions(**options)),
        )
        channel = NodeChannel(self, full)
        observer = self.node.observe(channel.changes, _change)
        await self.ask("watchChannel", channel=full, observer=observer)
        return channel


def _channel_options(options: ChannelOptions) -> dict[str, Any]:
    wire: dict[str, Any] = {}
    if options.params is not None:
        wire["params"] = options.params
    if options.modes is not None:
        wire["modes"] = [mode.upper() for mode in options.modes]
    if options.cipher_key is not None:
        wire["cipher"] = {"key": _bytes_out(options.cipher_key)}
    return wire


class NodeChannel(Channel):
    def __init__(self, client: NodeClient, name: str) -> None:
        self.name = name
        self.changes: Observed[Change] = Observed(f"channel {name}")
        self._client = client

    async def _ask(self, do: str, **arguments: Any) -> Any:
        return await self._client.ask(do, channel=self.name, **arguments)

    async def _observe(self, do: str) -> Observed[Received]:
        observed: Observed[Received] = Observed(f"{do} {self.name}")
        await self._ask(do, observer=self._client.node.observe(observed, _received))
        return observed

    async def attach(self) -> None:
        await self._ask("attach")

    async def detach(self) -> None:
        await self._ask("detach")

    async def set_options(
        self, params: dict[str, str] | None = None, modes: tuple[str, ...] | None = None
    ) -> None:
        """Re-attaches (RTL16a). ably-python's never returns, so this is for ably-js only."""
        await self._ask("setOptions", options=_channel_options(ChannelOptions(params, modes)))

    async def attachment(self) -> Attachment:
        value = await self._ask("attachment")
        modes = {mode.lower() for mode in value.get("modes") or ()}
        return Attachment(value["state"], modes, value.get("params") or {})

    async def subscribe(self) -> Observed[Received]:
        return await self._observe("subscribe")

    async def publish_all(self, messages: list[dict[str, Any]]) -> list[str | None]:
        wire = [{**message, "data": _bytes_out(message.get("data"))} for message in messages]
        serials: list[str | None] = await self._ask("publish", messages=wire)
        return serials

    async def history(self, **params: Any) -> list[Received]:
        return [_received(item) for item in await self._ask("history", params=params)]

    async def occupancy(self) -> dict[str, int]:
        status = await self._ask("status")
        metrics: dict[str, int] = status["status"]["occupancy"]["metrics"]
        return metrics

    async def watch_presence(self) -> Observed[Received]:
        return await self._observe("watchPresence")

    async def presence(self, method: str, *arguments: Any) -> None:
        wire = [_bytes_out(argument) for argument in arguments]
        await self._ask("presence", method=method, arguments=wire)

    async def members(self) -> list[Received]:
        return [_received(item) for item in await self._ask("members", params={})]

    async def presence_history(self, **params: Any) -> list[Received]:
        return [_received(item) for item in await self._ask("presenceHistory", params=params)]

    async def change(
        self, verb: str, message: dict[str, Any], operation: dict[str, Any] | None = None
    ) -> str | None:
        wire = {**message, "data": _bytes_out(message.get("data"))}
        version: str | None = await self._ask(
            "change", verb=f"{verb}Message", message=wire, operation=operation
        )
        return version

    async def message(self, serial: str | None) -> Received:
        return _received(await self._ask("message", serial=serial))

    async def versions(self, serial: str | None) -> list[Received]:
        return [_received(item) for item in await self._ask("versions", serial=serial)]

    async def annotate(self, verb: str, serial: str | None, annotation: dict[str, Any]) -> None:
        await self._ask("annotate", verb=verb, serial=serial, annotation=annotation)

    async def annotations(self, serial: str | None, **params: Any) -> list[Annotated]:
        found = await self._ask("annotations", serial=serial, params=params)
        return [_annotated(item) for item in found]

    async def watch_annotations(self) -> Observed[Annotated]:
        observed: Observed[Annotated] = Observed(f"annotations {self.name}")
        observer = self._client.node.observe(observed, _annotated)
        await self._ask("watchAnnotations", observer=observer)
        return observed
