"""The parent of all workers: holds the port, starts them, and starts again who ends.

    starting   the sockets, then the workers; the followers wait for the leader; when all serve, or
               could not at first (a full disk), the leader says so on standard output
    running    a follower that ends is started again alone. A leader that ends takes the followers
               along, and all are started again: their clients resume as after any kill
    stopping   SIGTERM or SIGINT: every worker drains, the leader last; a second signal kills them
    SIGHUP     every worker reads its settings again; what is declared, the leader puts into the log

The sockets are inherited, so a connection that comes while nobody runs waits in the system's queue,
and whoever is free takes the next; before the first leader serves, nobody can connect. Workers that
fail again and again are given more and more time. A leader that says that it failed (the disk, or
it cannot start) is not started again: its status is ours, and whoever started us decides.

Refuses to serve, or to open the log.
"""

import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import trio

from api.addresses import bound_sockets, named
from api.config import ConfigError, Configuration
from api.settings import PORT_MAX, ServerSettings
from api.structured_logging import log_the_uncaught
from api.workers import control
from api.workers.control import MESSAGE_BYTES_MAX, Follower, Message, Plan, Serving, Welcome, send

BIND_PATIENCE_S = 10
BIND_RETRY_S = 0.05
PAUSE_S, PAUSE_S_MAX = 0.1, 5.0
STEADY_S = 10  # who ran for so long is started again at once
FAILED = 1
logger = logging.getLogger("tidelog.server")


class Worker:
    """A process that was started, and the supervisor's end of its channel."""

    def __init__(self, number: int, process: trio.Process, end: socket.socket) -> None:
        self.number = number
        self.process = process
        self.end = end
        self.serves = trio.Event()
        self._channel = trio.socket.from_stdlib_socket(end)

    async def serving(self) -> bool:
        """Whether it came to serve; False when it has ended before."""
        try:
            data = await self._channel.recv(MESSAGE_BYTES_MAX)
        except OSError:  # it has not even read what it was told
            return False
        return bool(data) and isinstance(control.decode(data), Serving)

    def tell(self, message: Message, descriptors: list[int] | None = None) -> None:
        """One that is gone is noticed elsewhere."""
        try:
            send(self.end, message, descriptors)
        except OSError as error:
            logger.debug("worker %d hears nothing: %s", self.number, error)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        self._channel.close()


class Supervisor:
    """`plan`: of the leader. `count`: of the workers."""

    def __init__(self, plan: Plan, count: int, sockets: Sequence[socket.socket]) -> None:
        self._plan = plan
        self._count = count
        self._sockets = sockets
        self._workers: dict[int, Worker] = {}
        self._settled: set[int] = set()  # those that serve, or could not
        self._stopping = trio.Event()
        self._was_welcome = False

    async def run(self) -> int:
        """Until it is told to stop, or the leader fails; returns the exit status."""
        pause_s = PAUSE_S
        async with trio.open_nursery() as nursery:
            await nursery.start(self._receive_signals)
            while True:
                began = trio.current_time()
                status = await self._lead()
                if self._stopping.is_set() or status > 0:
                    break
                logger.error("the leader ended (%s): all workers are started again", status)
                pause_s = _next_pause(pause_s, trio.current_time() - began)
                await trio.sleep(pause_s)
            nursery.cancel_scope.cancel()
        return status if status >= 0 else FAILED

    async def _lead(self) -> int:
        """One leader's life, and its followers'."""
        self._settled.clear()
        async with self._started(self._plan, []) as leader, trio.open_nursery() as nursery:
            for number in range(1, self._count):  # at once: to import everything takes them longest
                nursery.start_soon(self._keep, number, leader)
            if await leader.serving():
                self._serves(leader)
            status = await leader.process.wait()
            nursery.cancel_scope.cancel()
        return status

    async def _keep(self, number: int, leader: Worker) -> None:
        """A follower, again and again."""
        pause_s = PAUSE_S
        while not self._stopping.is_set():
            began = trio.current_time()
            status = await self._follow(number, leader)
            if self._stopping.is_set():
                return
            self._tried(number)
            logger.error("worker %d ended (%s): it is started again", number, status)
            pause_s = _next_pause(pause_s, trio.current_time() - began)
            await trio.sleep(pause_s)

    async def _follow(self, number: int, leader: Worker) -> int:
        pairs = [socket.socketpair() for _ in range(2)]
        plan = msgspec.structs.replace(self._plan, number=number)
        try:
            async with self._started(plan, [theirs for _, theirs in pairs]) as follower:
                await leader.serves.wait()
                leader.tell(Follower(number), [ours.fileno() for ours, _ in pairs])
                for end in (end for pair in pairs for end in pair):
                    end.close()
                if await follower.serving():
                    self._serves(follower)
                return await follower.process.wait()
        finally:
            for end in (end for pair in pairs for end in pair):
                end.close()

    def _serves(self, worker: Worker) -> None:
        worker.serves.set()
        logger.info("worker %d serves", worker.number)
        self._tried(worker.number)

    def _tried(self, number: int) -> None:
        self._settled.add(number)
        if len(self._settled) == self._count and not self._was_welcome:
            self._was_welcome = True
            self._plan = msgspec.structs.replace(self._plan, accept_loss=False, is_new=False)
            self._workers[0].tell(Welcome())

    @asynccontextmanager
    async def _started(self, plan: Plan, streams: Sequence[socket.socket]) -> AsyncIterator[Worker]:
        """A worker; it is gone when this ends."""
        ours, theirs = control.channel()
        try:
            process = await trio.lowlevel.open_process(
                # -P: an api.py where we were started would be found before ours
                [sys.executable, "-P", "-m", "api.workers.process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=_environment(),
                process_group=0,  # what a terminal sends to all is ours to pass on
            )
        finally:
            theirs.close()
        worker = Worker(plan.number, process, ours)
        worker.tell(plan, [one.fileno() for one in (*self._sockets, *streams)])
        self._workers[plan.number] = worker
        if self._stopping.is_set():
            worker.signal(signal.SIGTERM)
        try:
            yield worker
        finally:
            del self._workers[plan.number]
            worker.close()
            with trio.CancelScope(shield=True):
                process.kill()
                await process.wait()

    async def _receive_signals(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP:
                    serving = [
                        number for number, one in self._workers.items() if one.serves.is_set()
                    ]
                    self._pass_on(signal.SIGHUP, serving)
                elif self._stopping.is_set():
                    self._pass_on(signal.SIGKILL, list(self._workers))
                    os._exit(FAILED)
                else:
                    logger.info("stopping: %s", signal.Signals(number).name)
                    self._stopping.set()
                    self._pass_on(signal.SIGTERM, list(self._workers))

    def _pass_on(self, number: int, to: Sequence[int]) -> None:
        for worker in to:
            if worker in self._workers:
                self._workers[worker].signal(number)


def _next_pause(pause_s: float, lasted_s: float) -> float:
    return PAUSE_S if lasted_s > STEADY_S else min(2 * pause_s, PAUSE_S_MAX)


def _environment() -> dict[str, str]:
    """A worker finds our packages where this process did."""
    paths = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def run(configuration: Configuration, plan: Plan) -> int:
    """Serve with several workers until told to stop; returns the exit status. `plan`: the leader's,
    but for its port. Raises ConfigError, CannotListen."""
    settings = configuration.server
    if settings.metrics_port and settings.metrics_port + settings.workers - 1 > PORT_MAX:
        raise ConfigError("metrics_port counts up with the workers: there are not so many ports")
    log_the_uncaught()
    return trio.run(partial(_supervise, settings, plan))


async def _supervise(settings: ServerSettings, plan: Plan) -> int:
    with named(settings.host, settings.port):
        sockets = await _bound(settings)
    return await Supervisor(plan, settings.workers, sockets).run()


async def _bound(settings: ServerSettings) -> list[socket.socket]:
    """Workers whose supervisor was killed just now may not be quite gone."""
    deadline = trio.current_time() + BIND_PATIENCE_S
    while True:
        try:
            return await bound_sockets(settings)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or trio.current_time() > deadline:
                raise
        await trio.sleep(BIND_RETRY_S)
