"""One server process: opens the broker, makes the configuration true, serves, and ends well.

    starting   open the log, reconcile what is declared, admin socket, listener; then ready, and
               notifications are delivered: whom they reach may call at once
    stopping   SIGTERM or SIGINT: no new connection, what was accepted is finished, exit 0;
               a second signal ends the process at once (the log does not mind)
    failed     writing has stopped for good (broker.failure): readiness says so, reads go on for
               `storage_failure_linger_ms`, then the process stops, with exit status 1
    SIGHUP     the configuration is read again (api.reloading)

Owns the process's signals and its exit status. Refuses to print: who starts it is told when it is
ready, and says so.
"""

import logging
import os
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

import broker
from api import serving, tls
from api.admin import service
from api.config import ConfigError, Configuration
from api.config.catalogue import ProcessSettings
from api.push.transports import Transports, build_transports
from api.reconciling import reconcile
from api.reloading import Reloader
from api.request_guard import App
from api.structured_logging import log_the_uncaught
from api.tls import DevCertificate
from api.tracing import off
from broker import Broker
from broker.process import rest_garbage_collector

STOPPED, FAILED = 0, 1

logger = logging.getLogger("tidelog.server")


@dataclass(frozen=True)
class Ready:
    """A server that accepts requests. `certificate`: the one for development, if that is used."""

    broker: Broker
    configuration: Configuration
    port: int
    is_tls: bool
    certificate: DevCertificate | None


def run(
    configuration: Configuration,
    *,
    ready: Callable[[Ready], None],
    reload: Callable[[], Configuration],
    accept_loss: bool = False,
) -> int:
    """Serve until told to stop; returns the exit status. `reload` reads the configuration again.

    Raises ConfigError, CertificateError, BrokerError or CannotListen when it cannot start.
    """
    return run_process(ServerProcess(configuration, ready, reload, accept_loss))


def run_process(server: "ServerProcess") -> int:
    """Be this server, and nothing else, until it ends; returns the exit status."""
    rest_garbage_collector()
    log_the_uncaught()
    return trio.run(server.run)


class ServerProcess:
    """A server that is one process. What api.workers does otherwise, where several share one, are
    the methods with a default here."""

    def __init__(
        self,
        configuration: Configuration,
        ready: Callable[[Ready], None],
        reload: Callable[[], Configuration],
        accept_loss: bool,
    ) -> None:
        self.configuration = configuration
        self._ready = ready
        self._reload = reload
        self._accept_loss = accept_loss
        self.stopping = trio.Event()
        self._listening = trio.Event()
        self._reloads = trio.Event()

    async def run(self) -> int:
        certificate, context = _transport_security(self.configuration.process)
        off.require(self.configuration.server)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._receive_signals)
            status = await self._with_broker(certificate, context)
            nursery.cancel_scope.cancel()
        return status

    def open(self, transports: Transports) -> AbstractAsyncContextManager[Broker]:
        """The broker to serve."""
        declared = self.configuration.declared
        return broker.open(
            self.configuration.data,
            settings=self.configuration.broker,
            accept_loss=self._accept_loss,
            create_app=not (declared.apps or declared.keys),
            transports=transports.by_type,
            delivers=self._listening,
        )

    async def prepare(self, opened: Broker) -> None:
        """Before anything is served."""
        await reconcile(opened, self.configuration.declared)

    def beside(self, opened: Broker) -> Sequence[Callable[..., Awaitable[None]]]:
        """What goes on until the server stops; what is asked of the admin socket is finished
        then."""
        grace_s = self.configuration.server.shutdown_grace_ms / 1000
        return (partial(service.serve, opened, self.configuration.data, grace_s=grace_s),)

    def sharing(self, opened: Broker) -> AbstractAsyncContextManager[None]:
        """Around all that is served."""
        return nullcontext()

    sockets: Sequence[socket.socket] = ()
    ends_at_second = True  # signal, whatever is under way
    reconciles = True  # what is declared, when it is read again

    def layer(self, app: App) -> App:
        """What is put around the application."""
        return app

    async def _with_broker(
        self, certificate: DevCertificate | None, context: ssl.SSLContext | None
    ) -> int:
        configuration = self.configuration
        transports = build_transports(configuration.push, configuration.data)
        async with transports, self.open(transports) as opened:
            await self.prepare(opened)
            async with self.sharing(opened), trio.open_nursery() as nursery:
                await nursery.start(self._beside, opened, context)
                serve = partial(
                    serving.serve,
                    ssl_context=context,
                    transports=transports,
                    shutdown=self.stopping,
                    sandbox=configuration.process.sandbox,
                    sockets=self.sockets,
                    layer=self.layer,
                )
                listening = await nursery.start(serve, opened, configuration.server)
                self._listening.set()
                is_tls = context is not None
                self._ready(Ready(opened, configuration, listening.port, is_tls, certificate))
            return FAILED if opened.failure else STOPPED

    async def _beside(
        self,
        opened: Broker,
        context: ssl.SSLContext | None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        async with trio.open_nursery() as nursery:
            for task in self.beside(opened):
                await nursery.start(task)
            nursery.start_soon(self._stop_on_failure, opened)
            reloader = Reloader(
                opened, self.configuration, context, self._reload, reconciles=self.reconciles
            )
            nursery.start_soon(self._reload_on_signal, reloader)
            task_status.started()
            await self.stopping.wait()
            nursery.cancel_scope.cancel()

    async def _stop_on_failure(self, opened: Broker) -> None:
        reason = await opened.wait_failed()
        linger_ms = self.configuration.server.storage_failure_linger_ms
        logger.critical("writing has failed, reads go on for %d ms: %s", linger_ms, reason)
        await trio.sleep(linger_ms / 1000)
        self.stopping.set()

    async def _receive_signals(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP:
                    self._reloads.set()
                elif not self.stopping.is_set():
                    logger.info("stopping: %s", signal.Signals(number).name)
                    self.stopping.set()
                elif self.ends_at_second:
                    os._exit(FAILED)

    async def _reload_on_signal(self, reloader: Reloader) -> None:
        while True:
            await self._reloads.wait()
            self._reloads = trio.Event()
            await reloader.reload()


def _transport_security(
    process: ProcessSettings,
) -> tuple[DevCertificate | None, ssl.SSLContext | None]:
    """Raises ConfigError for settings that exclude each other, CertificateError for bad files."""
    if bool(process.tls_cert) != bool(process.tls_key):
        raise ConfigError("tls_cert and tls_key go together: give both, or neither")
    if process.tls_dev and process.tls_cert:
        raise ConfigError("tls_dev makes its own certificate: give it or tls_cert, not both")
    if process.tls_dev:
        made = tls.dev_certificate(Path(process.data))
        return made, tls.server_context(made.cert_file, made.key_file)
    if process.tls_cert:
        return None, tls.server_context(Path(process.tls_cert), Path(process.tls_key))
    return None, None
