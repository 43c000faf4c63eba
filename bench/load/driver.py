"""What a broker must be able to do to be put under load: the interface of its drivers.

A workload is written on anyio and knows nothing else of a broker. So one workload runs on a trio
driver and on one made of an asyncio client library, whichever loop its driver names.

What a driver owes, for the checker takes it at its word:

- What it hands to `receive` are the bytes that were given to `publish`, once for each time that the
  broker delivered them, in the order in which they arrived. It hides no repeat and sorts nothing.
- An acknowledgement is the broker's, and means what `promise` says. Whoever cannot know whether a
  publish happened raises `Unknown`; whoever knows that it did not raises `Refused`.
- It waits for ever rather than giving up: deadlines are the workload's.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

Receive = Callable[[bytes], None]
Backend = Literal["trio", "asyncio"]
Ability = Literal[
    "publish",
    "subscribe",
    "history",
    "presence",
    "resume",  # a connection that was cut goes on, and what it missed is delivered
    "pause",  # a connection can stop reading, as a slow consumer does
    "pipeline",  # publishes that are under way together on one connection keep their order
    "push",
]


class Refused(Exception):
    """The broker said no: this did not happen."""


class Unknown(Exception):
    """The connection was lost: it may have happened, or not."""


class Connection(Protocol):
    """One client's. Several calls may be under way at once. What a driver's `abilities` do not
    name, its connections may leave out by raising NotImplementedError."""

    async def publish(self, channel: str, body: bytes) -> None:
        """Returns when it is acknowledged. With "pipeline", publishes are sent in the order of the
        calls: whatever is awaited before the body is handed over must be first in, first out.
        Raises Refused, Unknown."""

    async def subscribe(self, channel: str, receive: Receive) -> None:
        """Returns when it is in force: nothing that is published afterwards is missed. `receive` is
        called in the connection's own loop, and does not wait."""

    async def history(self, channel: str, limit: int) -> list[bytes]:
        """The newest `limit` bodies, or all that there are, newest first."""

    async def enter(self, channel: str, client_id: str, body: bytes) -> None:
        """As `publish`: a presence event with this body, after which `client_id` is present."""

    async def leave(self, channel: str, client_id: str, body: bytes) -> None:
        """As `enter`; afterwards it is not."""

    async def watch(self, channel: str, receive: Receive) -> None:
        """As `subscribe`: the bodies of entering and leaving from now on. Needs "presence"."""

    async def members(self, channel: str) -> frozenset[str]:
        """The client ids of all who are present."""

    async def pause(self, is_paused: bool) -> None:
        """Stop or go on reading from the network."""

    async def cut(self) -> None:
        """Lose the connection without a goodbye. What was being published stays under way."""

    async def resume(self) -> None:
        """Connect again and go on: returns when all that was subscribed to is in force again, and
        what was under way was sent again."""

    async def aclose(self) -> None: ...


@runtime_checkable
class SyncsPresence(Protocol):
    """A connection that is told, after it was lost, who is present now, and not who came and went
    meanwhile: as in Ably's protocol."""

    def when_synced(self, channel: str, call: Callable[[], None]) -> None:
        """`call` whenever a watch is in force again after the connection was lost."""


class Driver(Protocol):
    """promise: what an acknowledgement means, in a line for the report: "fsynced", "in the page
    cache", "in memory", "none". name: "tidelog", "redis-streams", …, as --driver has it."""

    @property
    def name(self) -> str: ...
    @property
    def backend(self) -> Backend: ...
    @property
    def promise(self) -> str: ...
    @property
    def abilities(self) -> frozenset[Ability]: ...

    def connect(self) -> AbstractAsyncContextManager[Connection]:
        """A connection that is open, and closed at the end of the block."""


class Address(NamedTuple):
    """Of a broker that was started here. pid: the process whose memory and processor time count."""

    host: str
    port: int
    pid: int


class Peer(Protocol):
    """A broker that can be started on this machine. It runs outside of any event loop, for turns of
    contenders with different loops follow one another while it runs.

    name: "redis"; drivers: the names of those that run on it; settings: in a line, what makes it
    keep its promise."""

    @property
    def name(self) -> str: ...
    @property
    def drivers(self) -> tuple[str, ...]: ...
    @property
    def settings(self) -> str: ...

    def missing(self) -> str | None:
        """Why it cannot run here: the absent program, and the Debian package that has it."""

    def version(self) -> str: ...

    def start(self, work: Path) -> AbstractContextManager[Address]:
        """Runs on the loopback, on a port that the system chose, with its data in `work`, which it
        makes; stopped at the end of the block. Returns once it takes connections."""

    def driver(self, name: str, address: Address) -> Driver:
        """name: one of `drivers`."""
