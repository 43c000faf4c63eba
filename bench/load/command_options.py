"""What the commands of `tidelog bench` share: options, which broker those mean, where its data is
meanwhile, and what the command line says of an error."""

import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from api.cli import outcome
from api.cli.outcome import Failure
from bench.load.ably.endpoint import Endpoint, endpoint
from bench.load.contenders import Contender, contender
from bench.load.driver import Ability, Refused, Unknown
from bench.load.lanes import Overrun
from bench.load.options import HELP, BadOption, Options, flag
from bench.load.peers.local import PeerFailed
from bench.load.pushing import push_contender
from bench.load.report import on_request
from bench.load.searching import Wrong
from bench.load.session import Session
from bench.realtime.process import raise_open_files
from bench.server_process import ServerFailed
from broker.process import rest_garbage_collector

Function = Callable[..., Any]
_FAILURES = (Refused, Unknown, ServerFailed, Overrun, Wrong, PeerFailed)
_TYPES = {int: click.INT, float: click.FLOAT, str: click.STRING}


def sized(function: Function) -> Function:
    """Adds an option for each field of Options; those that were given are passed as `sizes`."""

    @wraps(function)
    def wrapper(**given: Any) -> Any:
        sizes = {name: given.pop(name) for name in HELP}
        return function(sizes=sizes, **given)

    made: Function = wrapper
    for name, text in reversed(HELP.items()):
        default = getattr(Options(), name)
        made = click.option(flag(name), name, type=_TYPES[type(default)], help=text)(made)
    return made


def reported(function: Function) -> Function:
    """Adds what every command that measures takes; its errors become those of a command line."""

    @wraps(function)
    def wrapper(**given: Any) -> Any:
        try:
            return function(**given)
        except Exception as error:
            raise _as_said(error) from error

    made: Function = wrapper
    for option in (
        on_request.html,
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables."),
        click.option("--output", type=Path, metavar="FILE", help="Write JSON to a file, too."),
        click.option("--work", type=Path, metavar="DIR", help="Data goes below: its disk counts."),
    ):
        made = option(made)
    return made


def driven(function: Function) -> Function:
    """Adds what says which broker is measured."""
    for option in (
        click.option("--ca", type=Path, metavar="FILE", help="Trust this authority (PEM), too."),
        click.option(
            "--format",
            "spoken",
            type=click.Choice(("json", "msgpack")),
            default="json",
            help="What is spoken.",
        ),
        click.option(
            "--no-history",
            "forgets",
            is_flag=True,
            help="It keeps messages for less than a run: do not read them back.",
        ),
        click.option("--key", metavar="KEY", envvar="TIDELOG_BENCH_KEY", help="Of the endpoint."),
        click.option("--url", metavar="URL", help="Of an endpoint that runs already."),
        click.option(
            "--driver",
            metavar="NAME",
            default="tidelog",
            show_default=True,
            help="As `tidelog bench list` has them.",
        ),
    ):
        function = option(function)
    return function


@contextmanager
def contending(
    session: Session, options: Options, needs: frozenset[Ability], where: dict[str, Any]
) -> Iterator[Contender]:
    if "push" not in needs:
        with contender(where["driver"], session.work, _endpoint(where)) as made:
            yield made
    elif where["driver"] != "tidelog" or where["url"] is not None:
        raise BadOption("push wants a tidelog that is started here: devices are put into its data")
    else:
        with push_contender(session.work, options.devices) as made:
            yield made


def _endpoint(where: dict[str, Any]) -> Endpoint | None:
    if where["url"] is None:
        if where["ca"] or where["forgets"] or where["spoken"] != "json":
            raise click.UsageError("--ca, --format and --no-history are for an endpoint at --url")
        return None
    if where["key"] is None:
        raise click.UsageError("--url needs --key, or TIDELOG_BENCH_KEY")
    more = {"ca": where["ca"], "spoken": where["spoken"], "keeps": not where["forgets"]}
    return endpoint(where["url"], where["key"], **more)


@contextmanager
def measuring(parent: Path | None) -> Iterator[Session]:
    """A session in an empty directory."""
    rest_garbage_collector()
    raise_open_files()
    work = Path(tempfile.mkdtemp(prefix="tidelog-bench-", dir=parent))
    try:
        yield Session(command_line(), work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def command_line() -> str:
    """As it is written into a report, where a key has no business."""
    hidden = [
        "KEY" if before == "--key" else "--key=KEY" if argument.startswith("--key=") else argument
        for before, argument in pairwise(["", *sys.argv[1:]])
    ]
    return shlex.join(["tidelog", *hidden])


def _as_said(error: Exception) -> Exception:
    """One that the command line has words for; the error itself when it has none."""
    causes = list(outcome.leaves(error))
    for cause in causes:
        if isinstance(cause, BadOption):
            return click.UsageError(str(cause))
        if isinstance(cause, _FAILURES):
            return Failure(str(cause))
    return error
