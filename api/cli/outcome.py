"""What a command's end means: the one place where exceptions become words and an exit status.

Who can act on an error gets one line that says what to do; a bug gets its trace, without secrets.
Leaving early is no failure: a reader of our output that has seen enough (`| head`) ends a command
with status 0.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import NamedTuple

import click

from api.config import ConfigError
from api.file_descriptors import TooFewDescriptorsError
from api.structured_logging import scrub
from api.tls import CertificateError
from broker import BrokerError

FINE, FAILED, USAGE = 0, 1, 2


class Failure(Exception):
    """A command failed; the message is all there is to say."""


class NobodyReads(Exception):
    """Whoever read our output has left."""


class Meaning(NamedTuple):
    status: int
    words: Callable[[BaseException], str]


def _message(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _system(error: BaseException) -> str:
    assert isinstance(error, OSError)
    named = f"{error.filename}: " if error.filename else ""
    return f"{named}{error.strerror or error}"


def _bug(error: BaseException) -> str:
    trace = "".join(traceback.format_exception(error))
    return f"this is a bug in tidelog, please report it\n{trace}"


_MEANINGS: dict[type[BaseException], Meaning] = {
    ConfigError: Meaning(USAGE, _message),
    Failure: Meaning(FAILED, _message),
    BrokerError: Meaning(FAILED, _message),
    CertificateError: Meaning(FAILED, _message),
    TooFewDescriptorsError: Meaning(FAILED, _message),
    click.Abort: Meaning(FAILED, lambda _: "aborted"),
    KeyboardInterrupt: Meaning(FAILED, lambda _: "interrupted"),
    OSError: Meaning(FAILED, _system),
    BaseException: Meaning(FAILED, _bug),
}


def of(error: BaseException) -> int:
    """Say on standard error what happened; returns the exit status."""
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    causes = list(leaves(error))
    if any(isinstance(cause, NobodyReads | BrokenPipeError) for cause in causes):
        forget_output()
        return FINE
    cause = min(causes, key=_rank)
    meaning = _MEANINGS[_kind(cause)]
    click.echo(f"tidelog: {scrub(meaning.words(cause))}", err=True)
    return meaning.status


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions of a group, or the one that is none."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def _kind(error: BaseException) -> type[BaseException]:
    return next(kind for kind in _MEANINGS if isinstance(error, kind))


def _rank(error: BaseException) -> int:
    """Of several, the bug counts, then what the table has first."""
    order = list(_MEANINGS)
    kind = _kind(error)
    return -1 if kind is BaseException else order.index(kind)


def forget_output() -> None:
    """Or the interpreter would complain that what is still buffered cannot be written."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
