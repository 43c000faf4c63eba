"""A realtime client as the scenarios see it, whichever SDK it is.

Owns the words of the scenarios and what follows from them alone. `tests.conformance.realtime`'s
`python_sdk` and `node_sdk` put them to the SDKs. Errors of an SDK become `Refused`; its states,
actions and modes have the names that ably-js gives them.
"""

import abc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.realtime.observed import WITHIN_S, Observed

Token = str | dict[str, Any]
"""A JWT, or the TokenDetails of a native token."""

ENDED = ("closed", "failed")


class Refused(Exception):
    """What the SDK was asked failed; `code` and `status` as the server, or the SDK, said."""

    def __init__(self, status: int | None, code: int | None, message: str = "") -> None:
        super().__init__(f"{status}/{code}: {message}")
        self.status, self.code, self.message = status, code, message

    @property
    def reason(self) -> tuple[int | None, int | None]:
        return self.status, self.code


async def refusal(asking: Awaitable[Any]) -> tuple[int | None, int | None]:
    """(status, code) of what must be refused."""
    try:
        await asking
    except Refused as refused:
        return refused.reason
    raise AssertionError("this should have been refused")


@dataclass(frozen=True)
class Change:
    """Of the state of a connection or a channel. An update goes from a state to the same."""

    previous: str
    current: str
    refused: Refused | None = None
    resumed: bool | None = None

    @property
    def reason(self) -> tuple[int | None, int | None] | None:
        return self.refused.reason if self.refused else None


@dataclass(frozen=True)
class Received:
    """A message or a presence message, decoded by the SDK."""

    id: str | None = None
    name: str | None = None
    data: Any = None
    client_id: str | None = None
    connection_id: str | None = None
    timestamp: int | None = None
    serial: str | None = None
    extras: Any = None
    action: str | None = None
    encoding: str | None = None
    version: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Annotated:
    """An annotation, decoded by the SDK. `action`: create or delete."""

    action: str
    type: str
    name: str | None = None
    serial: str | None = None
    message_serial: str | None = None
    client_id: str | None = None
    data: Any = None


@dataclass(frozen=True)
class Connection:
    id: str | None
    key: str | None
    state: str
    client_id: str | None
    recovery_key: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Attachment:
    state: str
    modes: set[str]
    params: dict[str, str]


@dataclass(frozen=True)
class ChannelOptions:
    params: dict[str, str] | None = None
    modes: tuple[str, ...] | None = None
    cipher_key: bytes | None = None


class Channel(abc.ABC):
    """`changes`: every state change and update since the test first named the channel."""

    name: str
    changes: Observed[Change]

    async def reaches(self, state: str) -> Change:
        return await self.changes.first(lambda change: change.current == state)

    @abc.abstractmethod
    async def attach(self) -> None: ...

    @abc.abstractmethod
    async def detach(self) -> None: ...

    @abc.abstractmethod
    async def attachment(self) -> Attachment: ...

    @abc.abstractmethod
    async def subscribe(self) -> Observed[Received]:
        """Attaches."""

    @abc.abstractmethod
    async def publish_all(self, messages: list[dict[str, Any]]) -> list[str | None]:
        """In one ProtocolMessage; wire names (`clientId`). The serials of the ACK."""

    async def publish(self, name: str | None, data: Any = None, **fields: Any) -> str | None:
        (serial,) = await self.publish_all([{"name": name, "data": data, **fields}])
        return serial

    @abc.abstractmethod
    async def history(self, **params: Any) -> list[Received]:
        """Of messages, over REST."""

    @abc.abstractmethod
    async def occupancy(self) -> dict[str, int]:
        """Over REST; by the names of the wire."""

    @abc.abstractmethod
    async def watch_presence(self) -> Observed[Received]:
        """Attaches."""

    @abc.abstractmethod
    async def presence(self, method: str, *arguments: Any) -> None:
        """By ably-js' name: enter, update, leave, enterClient, updateClient, leaveClient."""

    async def enter(self, data: Any = None) -> None:
        await self.presence("enter", data)

    async def enter_client(self, client_id: str, data: Any = None) -> None:
        await self.presence("enterClient", client_id, data)

    @abc.abstractmethod
    async def members(self) -> list[Received]:
        """Attaches, and waits for the SYNC."""

    @abc.abstractmethod
    async def presence_history(self, **params: Any) -> list[Received]:
        """Over REST."""

    @abc.abstractmethod
    async def change(
        self, verb: str, message: dict[str, Any], operation: dict[str, Any] | None = None
    ) -> str | None:
        """`verb`: update, delete, append; wire names, the serial among them. The serial of the new
        version."""

    async def append(self, serial: str | None, data: Any) -> str | None:
        return await self.change("append", {"serial": serial, "data": data})

    @abc.abstractmethod
    async def message(self, serial: str | None) -> Received:
        """Over REST."""

    @abc.abstractmethod
    async def versions(self, serial: str | None) -> list[Received]:
        """Over REST."""

    @abc.abstractmethod
    async def annotate(self, verb: str, serial: str | None, annotation: dict[str, Any]) -> None:
        """`verb`: publish, delete; wire names."""

    @abc.abstractmethod
    async def annotations(self, serial: str | None, **params: Any) -> list[Annotated]:
        """The first page, over REST."""

    @abc.abstractmethod
    async def watch_annotations(self) -> Observed[Annotated]:
        """Attaches; needs the mode."""


class Client(abc.ABC):
    """`changes`: every state change and update of the connection."""

    changes: Observed[Change]

    @abc.abstractmethod
    async def open(self) -> None:
        """Make the SDK's client; it does not connect yet."""

    @abc.abstractmethod
    async def connect(self) -> None:
        """Begin to."""

    @abc.abstractmethod
    async def close_connection(self) -> None:
        """Begin to, as its user would; it may connect again."""

    @abc.abstractmethod
    async def dispose(self) -> None:
        """Of a client whose connection is closed or failed."""

    @abc.abstractmethod
    async def connection(self) -> Connection: ...

    @abc.abstractmethod
    async def ping(self) -> float:
        """The round trip in ms."""

    @abc.abstractmethod
    async def authorize(self) -> None:
        """With a new token, on the live connection."""

    @abc.abstractmethod
    async def channel(
        self,
        name: str,
        params: dict[str, str] | None = None,
        modes: tuple[str, ...] | None = None,
        cipher_key: bytes | None = None,
    ) -> Channel: ...

    async def reaches(self, state: str, within_s: float = WITHIN_S) -> Change:
        """The next change to it."""
        return await self.changes.first(lambda change: change.current == state, within_s)

    async def close(self) -> None:
        if (await self.connection()).state not in ENDED:
            await self.close_connection()
            while (await self.connection()).state not in ENDED:
                await self.changes.one()
        await self.dispose()

    async def __aenter__(self) -> "Client":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


@dataclass(frozen=True)
class ClientOptions:
    """`issue`: makes tokens. `token`: the only one there will be. Neither: the key itself."""

    port: int
    tls: bool
    binary: bool
    key: str
    issue: Callable[[], Awaitable[Token]] | None = None
    token: str | None = None
    client_id: str | None = None
    echo: bool = True
    transport_params: dict[str, str] = field(default_factory=dict)
    recover: str | None = None
    retry_ms: int = 50
    use_token_auth: bool = False
