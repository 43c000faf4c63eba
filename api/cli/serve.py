"""`tidelog serve`: a server process, and what its owner is told when it is ready."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api import config, structured_logging
from api.cli import outcome
from api.config import Configuration
from broker import offline

if TYPE_CHECKING:
    from api.server import Ready

FLAGS = {
    "host": "server.host",
    "port": "server.port",
    "data": "data",
    "sandbox": "sandbox",
    "tls_cert": "tls_cert",
    "tls_key": "tls_key",
    "tls_dev": "tls_dev",
    "log_level": "log_level",
    "workers": "server.workers",
}


@click.command("serve")
@click.option("--host", metavar="H", help="Interface to listen on.  [default: 127.0.0.1]")
@click.option("--port", metavar="P", help="Port to listen on; 0 takes a free one.  [default: 8080]")
@click.option("--data", metavar="DIR", help="Data directory, made if need be.  [default: ./data]")
@click.option("--sandbox", is_flag=True, help="Let SDK test suites make apps over HTTP.")
@click.option("--tls-cert", metavar="FILE", help="Serve TLS with this certificate chain (PEM) …")
@click.option("--tls-key", metavar="FILE", help="… and its private key.")
@click.option("--tls-dev", is_flag=True, help="Serve TLS with a development certificate.")
@click.option("--config", "file", metavar="FILE", type=Path, help="Settings, in TOML.")
@click.option("--key", metavar="KEY", help="Make appId.keyId:secret work, with its app.")
@click.option("--workers", metavar="N", help="Processes that serve together.  [default: 1]")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
@click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help="Any other setting.")
@click.option("--accept-loss", is_flag=True, help="Go on though acknowledged records are missing.")
def command(
    file: Path | None, key: str | None, settings: tuple[str, ...], accept_loss: bool, **options: Any
) -> int:
    """Run the broker on a data directory until SIGTERM or Ctrl-C.

    On an empty directory it makes an app and a root key, and prints how to use them. Logs go to
    standard error, one JSON object per line.

    On SIGHUP it reads again what the file declares ([[apps]], [[keys]], [[namespaces]], [[beams]],
    [[matrix]]), [rate_limits], log_level and the files of tls_cert and tls_key; other settings want
    a restart.

    \b
    Examples:
      tidelog serve --data ./data
      tidelog serve --data ./data --port 8443 --tls-dev
      tidelog serve --config tidelog.toml --set server.body_bytes_max=1048576
    """
    flags = flags_of(options, settings)

    def load() -> Configuration:
        return config.load(file, environment=os.environ, flags=flags, key=key)

    configuration = load()
    if configuration.server.workers > 1:
        return _share(configuration, file, flags, key, accept_loss)
    return _serve(configuration, load, accept_loss)


def flags_of(options: Mapping[str, Any], settings: tuple[str, ...]) -> dict[str, str | bool]:
    """Settings by name, from those options that were given and from --set."""
    given = {FLAGS[name]: value for name, value in options.items() if value not in (None, False)}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--set takes NAME=VALUE, not {name!r}")
        given[name] = value
    return given


def _serve(
    configuration: Configuration, reload: Callable[[], Configuration], accept_loss: bool
) -> int:
    from api import server

    structured_logging.configure(configuration.process.log_level)
    ready = welcome_to(configuration, not offline.holds_log(configuration.data))
    return server.run(configuration, ready=ready, reload=reload, accept_loss=accept_loss)


def _share(
    configuration: Configuration,
    file: Path | None,
    flags: dict[str, str | bool],
    key: str | None,
    accept_loss: bool,
) -> int:
    from api.workers import supervisor
    from api.workers.control import Plan

    structured_logging.configure(configuration.process.log_level)
    plan = Plan(
        number=0,
        file=str(file) if file is not None else None,
        flags=flags,
        key=key,
        accept_loss=accept_loss,
        is_new=not offline.holds_log(configuration.data),
    )
    return supervisor.run(configuration, plan)


def welcome_to(configuration: Configuration, is_new: bool) -> "Callable[[Ready], None]":
    """What says that the server is there. `is_new`: its directory was empty."""
    from api.cli.welcome import welcome

    def ready(started: "Ready") -> None:
        try:
            click.echo(welcome(started, is_new))
        except OSError:  # nobody listens: no reason not to serve
            outcome.forget_output()
        for variable in configuration.unused:
            click.echo(f"tidelog: {variable} is no setting, it was ignored", err=True)

    return ready
