"""Workers 1 to N-1: servers whose log the leader writes.

Refuses to live on when the leader is gone. What clients had under way is not answered then, as when
any server is killed: they come back, to whichever worker, and send again what was not acknowledged,
with the same ids.
"""

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import trio

from api.config import Configuration
from api.push.transports import Transports
from api.request_guard import App
from api.server import Ready, ServerProcess
from api.workers import control
from api.workers.control import ORPHANED, Control, Message
from api.workers.forwarding import Forwarding
from broker import Broker
from broker.sharing import join


class Follower(ServerProcess):
    """`log`, `requests`: descriptors of the streams to the leader."""

    def __init__(
        self,
        configuration: Configuration,
        told: Control,
        sockets: Sequence[socket.socket],
        *,
        number: int,
        log: int,
        requests: int,
        reload: Callable[[], Configuration],
    ) -> None:
        super().__init__(_own(configuration, number), self._serving, reload, accept_loss=False)
        self.sockets = sockets
        self.ends_at_second = False  # systemd tells everybody, and then the supervisor does
        self.reconciles = False  # the leader does
        self._control = told
        self._log = log
        self._requests = requests
        self._forwarding: Forwarding | None = None
        self._layered = trio.Event()

    @asynccontextmanager
    async def open(self, transports: Transports) -> AsyncIterator[Broker]:
        configuration = self.configuration
        joining = join(
            configuration.data,
            control.stream(self._log),
            settings=configuration.broker,
            on_lost=_end,
        )
        async with joining as opened:
            yield opened

    async def prepare(self, opened: Broker) -> None:
        """What is declared, the leader has made true."""

    def beside(self, opened: Broker) -> Sequence[Callable[..., Awaitable[None]]]:
        """The admin socket is the leader's."""
        return ()

    def layer(self, app: App) -> App:
        stream = control.stream(self._requests)
        self._forwarding = Forwarding(app, stream, self.configuration.server)
        self._layered.set()
        return self._forwarding

    def _serving(self, ready: Ready) -> None:
        self._control.serving(ready.port)

    @asynccontextmanager
    async def sharing(self, opened: Broker) -> AsyncIterator[None]:
        self._control.follow(_ignore)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._forward)
            yield
            nursery.cancel_scope.cancel()

    async def _forward(self) -> None:
        """`layer` is called when serving begins, within this."""
        await self._layered.wait()
        assert self._forwarding is not None
        await self._forwarding.run()
        _end()


def _own(configuration: Configuration, number: int) -> Configuration:
    """Each worker has a port for metrics of its own: they count up from the leader's."""
    server = configuration.server
    if not server.metrics_port:
        return configuration
    return replace(configuration, server=replace(server, metrics_port=server.metrics_port + number))


def _end() -> None:
    os._exit(ORPHANED)


def _ignore(_: Message, __: list[int]) -> None:
    """What the supervisor has to say is for the leader."""
