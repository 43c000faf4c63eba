"""What connections make a broker do, in a few words, and waiting until it is done.

Commands go to a real log. `settled` is how tests wait: for everything that was posted to be on disk
and handed on to whoever follows it, not for a time.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from threading import Event
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from broker import Broker
from broker.channels.modes import DEFAULT
from broker.channels.occupancy import Attach, Detach
from broker.channels.presence import Change, ChangePresence, PresenceAction, members
from broker.event import Kind
from broker.live.timers import TICKS_PER_SECOND
from broker.messages.message import PresenceMessage
from storage import Log, Outcome, Record, Span, Stream
from storage.engine import Writer
from tests.broker.conftest import FakeClock

STUCK_S = 20  # of the trio clock; only ever passes when a test hangs
NO_EPOCH = 1 << 40
ENTER, UPDATE, LEAVE = PresenceAction.ENTER, PresenceAction.UPDATE, PresenceAction.LEAVE


_msg_serials = count()


def member(client_id: str, connection: str = "conn", **fields: Any) -> PresenceMessage:
    """What a member says next: each has a later id than the one before."""
    return PresenceMessage(
        id=fields.pop("id", f"{connection}:{next(_msg_serials)}:0"),
        client_id=client_id,
        connection_id=connection,
        **fields,
    )


@asynccontextmanager
async def writer_held(log: Log) -> AsyncIterator[None]:
    """The writer takes no command until the context ends."""
    holding, go = Event(), Event()

    def step(_: Writer) -> bool:
        holding.set()
        go.wait()
        return False

    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.maintain, step)
        await trio.to_thread.run_sync(holding.wait)
        try:
            yield
        finally:
            go.set()


@dataclass
class Acting:
    """Commands of one app's connections."""

    broker: Broker
    app: str = ""

    def __post_init__(self) -> None:
        self.app = self.app or self.broker.default_app()

    async def submit(self, command: Any) -> Outcome:
        return await self.broker.submit(command, app=self.app)

    async def change(
        self, *changes: Change, channel: str = "c", connection: str = "conn", **fields: Any
    ) -> Outcome:
        """One presence protocol message."""
        return await self.submit(ChangePresence(self.app, channel, connection, changes, **fields))

    async def act(
        self,
        action: PresenceAction,
        client_id: str,
        *,
        channel: str = "c",
        connection: str = "conn",
        msg_serial: int | None = None,
        **fields: Any,
    ) -> Outcome:
        change = Change(action, member(client_id, connection, **fields))
        return await self.change(
            change, channel=channel, connection=connection, msg_serial=msg_serial
        )

    async def attach(
        self, channel: str = "c", *, modes: int = DEFAULT, connection: str = "conn", epoch: int = 0
    ) -> Outcome:
        epoch = epoch or self.broker.epoch.connections.epoch
        return await self.submit(Attach(self.app, channel, connection, int(modes), epoch))

    async def detach(
        self, channel: str = "c", *, modes: int = DEFAULT, connection: str = "conn", epoch: int = 0
    ) -> Outcome:
        epoch = epoch or self.broker.epoch.connections.epoch
        return await self.submit(Detach(self.app, channel, connection, int(modes), epoch))

    def members(self, channel: str = "c") -> set[tuple[str, str]]:
        """(connection, client) of everybody who is there."""
        with self.broker.rows() as rows:
            found = [m.presence for _, m in members(rows, self.app, channel)]
        assert len({(m.connection_id, m.client_id) for m in found}) == len(found)
        return {(m.connection_id, m.client_id) for m in found}

    async def records(self, kind: Kind, channel: str = "c") -> list[Record]:
        """A whole stream of the app."""
        page = await self.broker.log.read(Stream(self.app, channel, kind), Span(), limit=1_000)
        assert not page.more
        return page.records

    async def events(self, kind: Kind, channel: str = "c") -> list[Any]:
        return [record.event for record in await self.records(kind, channel)]

    async def settled(self) -> None:
        """Until what was posted is on disk and was handed on."""
        with trio.fail_after(STUCK_S):
            await self.submit(Detach(self.app, "", "", 0, NO_EPOCH))
            while len(self.broker.epoch.background):
                await self.submit(Detach(self.app, "", "", 0, NO_EPOCH))
            while self.broker.epoch.hub.position < self.broker.log.position:
                await trio.lowlevel.checkpoint()


class Time(trio.abc.Clock):
    """Both clocks of a broker: trio's, by which its timers go, and the one of its serials. As a
    fixture that a test asks for it is the clock of the test's run."""

    def __init__(self, wall: FakeClock) -> None:
        self.wall = wall
        self._mock = MockClock()

    def start_clock(self) -> None:
        self._mock.start_clock()

    def current_time(self) -> float:
        return self._mock.current_time()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return self._mock.deadline_to_sleep_time(deadline)

    async def passes(self, ms: int, *acting: Acting) -> None:
        self.wall.advance(ms)
        self._mock.jump(ms / 1000 + 1 / TICKS_PER_SECOND)
        await wait_all_tasks_blocked()
        for one in acting:
            await one.settled()
