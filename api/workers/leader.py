"""Worker 0: a server that also writes the log for the others, and answers what only it can.

It ends after its followers: while they drain they have things to record. A follower that the
supervisor starts comes as two streams over the control channel.
"""

import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from api.config import Configuration
from api.push.transports import Transports
from api.request_guard import App
from api.server import Ready, ServerProcess
from api.workers import control, forwarding
from api.workers.control import Control, Follower, Message, Welcome
from broker import Broker, BrokerError
from broker.errors import InUse
from broker.sharing import admit

IN_USE_PATIENCE_S = 10
IN_USE_RETRY_S = 0.05
logger = logging.getLogger("tidelog.server")


class Leader(ServerProcess):
    def __init__(
        self,
        configuration: Configuration,
        told: Control,
        sockets: Sequence[socket.socket],
        *,
        welcome: Callable[[Ready], None],
        reload: Callable[[], Configuration],
        accept_loss: bool,
    ) -> None:
        super().__init__(configuration, self._serving, reload, accept_loss)
        self.sockets = sockets
        self.ends_at_second = False  # systemd tells everybody, and then the supervisor does
        self._control = told
        self._welcome = welcome
        self._ready_is: Ready | None = None
        self._app: App | None = None
        self._left = trio.Event()
        self._count = 0
        self._is_over = False

    @asynccontextmanager
    async def open(self, transports: Transports) -> AsyncIterator[Broker]:
        """A leader that was killed just now may not be quite gone."""
        deadline = trio.current_time() + IN_USE_PATIENCE_S
        async with AsyncExitStack() as stack:
            opened: Broker | None = None
            while opened is None:
                try:
                    opened = await stack.enter_async_context(super().open(transports))
                except InUse:
                    if trio.current_time() > deadline:
                        raise
                    await trio.sleep(IN_USE_RETRY_S)
            yield opened

    def layer(self, app: App) -> App:
        self._app = app
        return app

    def _serving(self, ready: Ready) -> None:
        self._ready_is = ready
        self._control.serving(ready.port)

    @asynccontextmanager
    async def sharing(self, opened: Broker) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:

            def told(message: Message, descriptors: list[int]) -> None:
                if isinstance(message, Follower) and self._is_over:
                    for one in descriptors:
                        os.close(one)
                elif isinstance(message, Follower):
                    nursery.start_soon(self._follower, opened, message.number, descriptors)
                elif isinstance(message, Welcome) and self._ready_is is not None:
                    self._welcome(self._ready_is)

            self._control.follow(told)
            yield
            with trio.move_on_after(self.configuration.server.shutdown_grace_ms / 1000):
                while self._count:
                    await self._left.wait()
            self._is_over = True
            nursery.cancel_scope.cancel()

    async def _follower(self, opened: Broker, number: int, descriptors: list[int]) -> None:
        log, requests = map(control.stream, descriptors)
        self._count += 1
        try:
            async with log, requests, trio.open_nursery() as nursery:
                assert self._app is not None
                nursery.start_soon(forwarding.answer, self._app, requests)
                await admit(opened, log)
                nursery.cancel_scope.cancel()
        except* BrokerError as group:
            logger.error("worker %d was not admitted: %s", number, group.exceptions[0])
        finally:
            self._count -= 1
            self._left.set()
            self._left = trio.Event()
