"""Reading the configuration again while the server runs: what SIGHUP does.

    declarations         are reconciled (api.reconciling)
    [rate_limits]        hold from now on; buckets begin full
    log_level            holds from now on
    tls_cert, tls_key    are read again, whether or not their names changed: new connections get the
                         new certificate, and those that are open stay as they are

All other settings want a restart; which of them have changed is said in the log. A configuration
that cannot be used changes nothing, and the log says why.
"""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from api import tls
from api.config import ConfigError, Configuration
from api.config.catalogue import SETTINGS
from api.reconciling import reconcile
from broker import Broker, BrokerError

TLS = frozenset({"tls_cert", "tls_key"})
_RELOADS = {setting.name: setting.reloads for setting in SETTINGS}

logger = logging.getLogger("tidelog.server")


class Reloader:
    """`context`: what connections get their certificate from; None without TLS. `load`: reads the
    configuration again. `reconciles`: what is declared, too: of several processes on one log, one
    does."""

    def __init__(
        self,
        opened: Broker,
        configuration: Configuration,
        context: ssl.SSLContext | None,
        load: Callable[[], Configuration],
        *,
        reconciles: bool = True,
    ) -> None:
        self._opened = opened
        self._running = {name: it.value for name, it in configuration.effective.items()}
        self._context = context
        self._load = load
        self._reconciles = reconciles

    async def reload(self) -> None:
        """Raises nothing."""
        try:
            wanted = self._load()
            changed = self._changed(wanted)
            certificate = self._certificate(wanted)
            if self._reconciles:
                await reconcile(self._opened, wanted.declared)
            if certificate is not None and self._context is not None:
                tls.load_certificate(self._context, *certificate)
        except (ConfigError, tls.CertificateError, BrokerError) as error:
            logger.error("the configuration was not reloaded: %s", error)
            return
        if self._reconciles:
            logger.info("the configuration's declarations were reloaded")
        done = frozenset(name for name in changed if _RELOADS[name])
        self._apply(wanted, done if certificate else done - TLS, changed)

    def _changed(self, wanted: Configuration) -> frozenset[str]:
        return frozenset(
            name for name, it in wanted.effective.items() if it.value != self._running[name]
        )

    def _certificate(self, wanted: Configuration) -> tuple[Path, Path] | None:
        """The files of the one to use from now on: tried in a context of their own, for a bad pair
        would leave half of it in ours. Raises CertificateError."""
        process = wanted.process
        if self._context is None or process.tls_dev or not (process.tls_cert and process.tls_key):
            return None
        files = Path(process.tls_cert), Path(process.tls_key)
        tls.server_context(*files)
        return files

    def _apply(self, wanted: Configuration, done: frozenset[str], changed: frozenset[str]) -> None:
        if any(name.startswith("rate_limits.") for name in done):
            self._opened.epoch.rate_limits.configure(wanted.broker.rate_limits)
        if "log_level" in done:
            logging.getLogger().setLevel(wanted.process.log_level.upper())
        self._running |= {name: wanted.effective[name].value for name in done}
        if done:
            logger.info("settings that hold from now on: %s", ", ".join(sorted(done)))
        if left := changed - done:
            logger.warning("settings that want a restart: %s", ", ".join(sorted(left)))
