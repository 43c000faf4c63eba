"""Operations from the command line: on the running broker, or on the directory itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import click
import trio

from api.admin.session import Session, open_session
from api.cli.options import existing
from api.config import Configuration


@asynccontextmanager
async def session(configuration: Configuration, *, create: bool = False) -> AsyncIterator[Session]:
    """A session on the configured directory, which must exist unless `create`."""
    data = configuration.data.absolute()
    if create and not data.exists():
        click.echo(f"tidelog: making a new data directory {data}", err=True)
    if not create:
        existing(configuration)
    async with open_session(data, configuration.broker, create=create) as opened:
        yield opened


def ask(
    configuration: Configuration, operation: str, *, create: bool = False, **arguments: Any
) -> Any:
    """The result of one operation."""

    async def run() -> Any:
        async with session(configuration, create=create) as opened:
            return await opened.call(operation, **arguments)

    return trio.run(run)
