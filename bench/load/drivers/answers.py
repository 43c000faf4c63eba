"""What an asyncio driver has asked and not been answered yet."""

import asyncio
from collections.abc import Iterable
from typing import Any

from bench.load.driver import Unknown

Answer = asyncio.Future[Any]


def asked() -> Answer:
    return asyncio.get_running_loop().create_future()


def answer(future: Answer, value: object = None) -> None:
    """An Exception is raised where it is awaited. Who asked may have gone: that is no error."""
    if future.done():
        return
    if isinstance(value, Exception):
        future.set_exception(value)
    else:
        future.set_result(value)


def lose(futures: Iterable[Answer]) -> None:
    """The connection is gone, and what it would have answered with it."""
    for future in list(futures):
        answer(future, Unknown("the connection was lost before this was answered"))
