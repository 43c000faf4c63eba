"""ably-python, in the event loop of the test.

Its realtime client finds a port only inside `endpoint`, and its REST calls then fail, so what goes
over REST goes through a second client (reference 7.2).
"""

import re
from typing import Any

from ably import AblyRealtime, AblyRest
from ably.types.annotation import Annotation, AnnotationAction
from ably.types.channelmode import ChannelMode
from ably.types.channeloptions import ChannelOptions as AblyChannelOptions
from ably.types.message import Message, MessageAction
from ably.types.operations import MessageOperation
from ably.types.presence import PresenceAction
from ably.util.crypto import CipherParams
from ably.util.exceptions import AblyException
from ably.vcdiff.defaultvcdiffdecoder import AblyVCDiffDecoder
from websockets.exceptions import WebSocketException

from tests.conformance.realtime.client import (
    Annotated,
    Attachment,
    Change,
    Channel,
    Client,
    ClientOptions,
    Connection,
    Received,
    Refused,
)
from tests.conformance.realtime.observed import Observed

ACTIONS = {
    getattr(PresenceAction, name.upper()): name
    for name in ("absent", "present", "enter", "leave", "update")
}


def _refused(error: Exception | None) -> Refused | None:
    """A state change may carry an error of the WebSocket library."""
    if isinstance(error, AblyException):
        return Refused(error.status_code, error.code, error.message)
    return Refused(None, None, str(error)) if error else None


async def _asking(awaitable: Any) -> Any:
    try:
        return await awaitable
    except AblyException as error:
        raise Refused(error.status_code, error.code, error.message) from error
    except WebSocketException as error:
        raise Refused(None, None, str(error)) from error


def _change(change: Any) -> Change:
    return Change(
        change.previous.value,
        change.current.value,
        _refused(change.reason),
        getattr(change, "resumed", None),
    )


def _snake(name: str) -> str:
    return re.sub("([A-Z])", lambda match: "_" + match[1].lower(), name)


def _data(data: Any) -> Any:
    return bytes(data) if isinstance(data, bytearray) else data


def _action(action: MessageAction | None) -> str | None:
    return None if action is None else action.name.lower().replace("_", ".")


def _message(message: Any) -> Received:
    return Received(
        id=message.id,
        name=message.name,
        data=_data(message.data),
        client_id=message.client_id,
        connection_id=message.connection_id,
        timestamp=message.timestamp,
        serial=message.serial,
        extras=message.extras,
        action=_action(message.action),
        encoding=message.encoding,
        version=message.version.as_dict() if message.version else {},
        summary=(message.annotations and message.annotations.summary) or {},
    )


def _annotated(annotation: Any) -> Annotated:
    return Annotated(
        AnnotationAction(annotation.action).name.removeprefix("ANNOTATION_").lower(),
        annotation.type,
        annotation.name,
        annotation.serial,
        annotation.message_serial,
        annotation.client_id,
        _data(annotation.data),
    )


def _made(wire: dict[str, Any]) -> Message:
    return Message(**{_snake(name): value for name, value in wire.items()})


def _presence(message: Any) -> Received:
    return Received(
        id=message.id,
        data=_data(message.data),
        client_id=message.client_id,
        connection_id=message.connection_id,
        timestamp=message.timestamp and round(message.timestamp.timestamp() * 1000),
        extras=message.extras,
        action=ACTIONS[message.action],
        encoding=message.encoding,
    )


class PythonClient(Client):
    def __init__(self, options: ClientOptions) -> None:
        self.changes: Observed[Change] = Observed("connection")
        self._options = options
        self._ably: AblyRealtime
        self._rest: AblyRest | None = None

    async def open(self) -> None:
        options = self._options
        given: dict[str, Any] = {"key": options.key}
        if options.issue is not None:
            given = {"auth_callback": self._issue}
        elif options.token is not None:
            given = {"token": options.token}
        assert options.recover is None, "ably-python cannot recover"
        assert not options.use_token_auth, "ably-python asks for tokens over REST, which it cannot"
        self._ably = AblyRealtime(
            **given,
            client_id=options.client_id,
            endpoint=f"localhost:{options.port}",
            tls=options.tls,
            use_binary_protocol=options.binary,
            transport_params=self._transport_params(),
            disconnected_retry_timeout=options.retry_ms,
            auto_connect=False,
            vcdiff_decoder=AblyVCDiffDecoder(),
        )
        self._ably.connection.on(lambda change: self.changes.add(_change(change)))

    def _transport_params(self) -> dict[str, str]:
        """It has no option for `echo`."""
        return self._options.transport_params | ({} if self._options.echo else {"echo": "false"})

    async def _issue(self, _: Any) -> Any:
        assert self._options.issue
        try:
            return await self._options.issue()
        except Refused as refused:
            raise AblyException(refused.message, refused.status, refused.code) from refused

    def rest(self) -> AblyRest:
        """Over plain HTTP it takes no key."""
        if self._rest is None:
            options = self._options
            assert options.issue, "ably-python takes no key for REST without TLS"
            self._rest = AblyRest(
                auth_callback=self._issue,
                endpoint="localhost",
                port=options.port,
                tls=False,
                use_binary_protocol=options.binary,
            )
        return self._rest

    async def connect(self) -> None:
        self._ably.connect()

    async def close_connection(self) -> None:
        await self._ably.connection.close()

    async def dispose(self) -> None:
        await self._ably.http.close()
        if self._rest is not None:
            await self._rest.close()

    async def connection(self) -> Connection:
        connection = self._ably.connection
        details = connection.connection_details
        return Connection(
            connection.connection_manager.connection_id,
            details and details.connection_key,
            connection.state.value,
            self._ably.auth.client_id,
        )

    async def ping(self) -> float:
        return float(await _asking(self._ably.connection.ping()))

    async def authorize(self) -> None:
        await _asking(self._ably.auth.authorize())

    async def channel(
        self,
        name: str,
        params: dict[str, str] | None = None,
        modes: tuple[str, ...] | None = None,
        cipher_key: bytes | None = None,
    ) -> "PythonChannel":
        wanted = [ChannelMode[mode.upper()] for mode in modes] if modes else None
        cipher = CipherParams(algorithm="aes", secret_key=cipher_key) if cipher_key else None
        options = AblyChannelOptions(cipher=cipher, params=params, modes=wanted)
        return PythonChannel(self, self._ably.channels.get(name, options), cipher)


class PythonChannel(Channel):
    def __init__(self, client: PythonClient, channel: Any, cipher: CipherParams | None) -> None:
        self.name = channel.name
        self.changes: Observed[Change] = Observed(f"channel {channel.name}")
        self._client = client
        self._channel = channel
        self._cipher = cipher
        channel.on(lambda change: self.changes.add(_change(change)))

    def _over_rest(self) -> Any:
        options = {"cipher": self._cipher} if self._cipher else {}
        return self._client.rest().channels.get(self.name, **options)

    async def attach(self) -> None:
        await _asking(self._channel.attach())

    async def detach(self) -> None:
        await _asking(self._channel.detach())

    async def attachment(self) -> Attachment:
        channel = self._channel
        modes = {mode.name.lower() for mode in channel.modes}
        return Attachment(channel.state.value, modes, channel.params or {})

    async def subscribe(self) -> Observed[Received]:
        observed: Observed[Received] = Observed(f"subscribe {self.name}")
        await _asking(self._channel.subscribe(lambda message: observed.add(_message(message))))
        return observed

    async def publish_all(self, messages: list[dict[str, Any]]) -> list[str | None]:
        made = [_made(message) for message in messages]
        result = await _asking(self._channel.publish(made))
        serials: list[str | None] = result.serials
        return serials

    async def history(self, **params: Any) -> list[Received]:
        page = await _asking(self._over_rest().history(**params))
        return [_message(item) for item in page.items]

    async def occupancy(self) -> dict[str, int]:
        path = f"/channels/{self.name}"
        response = await _asking(self._client.rest().http.get(path))
        metrics: dict[str, int] = response.to_native()["status"]["occupancy"]["metrics"]
        return metrics

    async def watch_presence(self) -> Observed[Received]:
        observed: Observed[Received] = Observed(f"presence {self.name}")
        listener = lambda message: observed.add(_presence(message))  # noqa: E731
        await _asking(self._channel.presence.subscribe(listener))
        return observed

    async def presence(self, method: str, *arguments: Any) -> None:
        await _asking(getattr(self._channel.presence, _snake(method))(*arguments))

    async def members(self) -> list[Received]:
        return [_presence(item) for item in await _asking(self._channel.presence.get())]

    async def presence_history(self, **params: Any) -> list[Received]:
        page = await _asking(self._over_rest().presence.history(**params))
        return [_presence(item) for item in page.items]

    async def change(
        self, verb: str, message: dict[str, Any], operation: dict[str, Any] | None = None
    ) -> str | None:
        change = getattr(self._channel, f"{verb}_message")
        signed = MessageOperation.from_dict(operation)
        result = await _asking(change(_made(message), signed))
        version: str | None = result.version_serial
        return version

    async def message(self, serial: str | None) -> Received:
        return _message(await _asking(self._over_rest().get_message(serial)))

    async def versions(self, serial: str | None) -> list[Received]:
        page = await _asking(self._over_rest().get_message_versions(serial))
        return [_message(item) for item in page.items]

    async def annotate(self, verb: str, serial: str | None, annotation: dict[str, Any]) -> None:
        made = Annotation(**{_snake(name): value for name, value in annotation.items()})
        await _asking(getattr(self._channel.annotations, verb)(serial, made))

    async def annotations(self, serial: str | None, **params: Any) -> list[Annotated]:
        page = await _asking(self._over_rest().annotations.get(serial, params))
        return [_annotated(item) for item in page.items]

    async def watch_annotations(self) -> Observed[Annotated]:
        observed: Observed[Annotated] = Observed(f"annotations {self.name}")
        listener = lambda annotation: observed.add(_annotated(annotation))  # noqa: E731
        await _asking(self._channel.annotations.subscribe(listener))
        return observed
