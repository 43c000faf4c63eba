"""The commands of `tidelog bench`: what is asked for on the command line, and what is answered.

Exit status 0: measured, and right; 1: a violation, or a broker that could not go on; 2: the command
line makes no sense. Steps and progress go to standard error, so that --json is all of the output.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from api.cli.outcome import FAILED, FINE, Failure
from bench.load import comparing, searching, soaking, tables
from bench.load.command_options import contending, driven, measuring, reported, sized
from bench.load.contenders import AT_URL, HERE, found
from bench.load.report import on_request
from bench.load.result import Report, Result
from bench.load.searching import Step
from bench.load.session import Session
from bench.load.workloads import WORKLOADS

_COMPARED = ("publish", "fanout")

_workload = click.argument("workload", type=click.Choice(list(WORKLOADS)))


@click.command("list")
def list_() -> None:
    """Workloads, drivers, and the brokers that can run beside ours here.

    \b
    Example:
      tidelog bench list
    """
    for workload in WORKLOADS.values():
        click.echo(f"{workload.name:10} {workload.title}")
    click.echo(f"\ndrivers: {', '.join([*AT_URL, *HERE])}")
    here, absent = found()
    for peer in here:
        click.echo(f"{peer.name:10} {peer.version()}: {', '.join(peer.drivers)}; {peer.settings}")
    for one in absent:
        click.echo(f"{one.name:10} cannot run here: {one.reason}")


@click.command("run")
@_workload
@driven
@reported
@sized
def run(
    workload: str, sizes: dict[str, Any], as_json: bool, output: Path | None, **where: Any
) -> int:
    """One workload on one broker.

    Without --url a server is started for it, on an empty data directory, and stopped afterwards.

    \b
    Examples:
      tidelog bench run publish
      tidelog bench run fanout --subscribers 500 --rate 20 --json
      tidelog bench run mixed --url https://broker.example:8443 --key "$KEY"
    """
    chosen = WORKLOADS[workload]
    options = chosen.defaults.but(**sizes)
    with measuring(where.pop("work")) as session:
        with contending(session, options, chosen.needs(options), where) as against:
            result = session.run(against, chosen, options)
        _answer(session.report(), tables.of_run(result), as_json, output)
    return FINE if result.checked.is_right else FAILED


@click.command("search")
@_workload
@click.option(
    "--p99",
    "budget_ms",
    type=click.FloatRange(min=0.01),
    default=50.0,
    metavar="MS",
    show_default=True,
    help="The budget: of acknowledgement, delivery, whatever is timed.",
)
@click.option(
    "--from",
    "start",
    type=click.FloatRange(min=1),
    default=100.0,
    metavar="RATE",
    show_default=True,
    help="The first rate.",
)
@click.option(
    "--precision",
    type=click.FloatRange(0.01, 0.5),
    default=0.1,
    show_default=True,
    help="How wide the last bracket may be, as a share of the rate.",
)
@driven
@reported
@sized
def search(
    workload: str,
    budget_ms: float,
    start: float,
    precision: float,
    sizes: dict[str, Any],
    as_json: bool,
    output: Path | None,
    **where: Any,
) -> int:
    """The highest rate that keeps p99 under a budget, by short runs.

    \b
    Example:
      tidelog bench search publish --p99 20 --size 1024
    """
    chosen = WORKLOADS[workload]
    if not chosen.operations:
        raise click.UsageError(f"{workload} has no rate to search for")
    if sizes.pop("rate") is not None:
        raise click.UsageError("the rate is what is searched for: --from says where to begin")
    options = chosen.defaults.but(duration_s=3.0).but(**sizes)
    needs = chosen.needs(options)
    with (
        measuring(where.pop("work")) as session,
        contending(session, options, needs, where) as against,
    ):
        try:
            best = searching.search(
                lambda rate: session.run(against, chosen, options.but(rate=rate)),
                start=start,
                budget_ms=budget_ms,
                precision=precision,
                say=_say_step,
            )
        except searching.Wrong as wrong:
            shown = tables.of_run(wrong.step.result)
            _answer(session.report(), shown, as_json, output)
            raise Failure(str(wrong)) from wrong
        return _found(session, best, as_json, output)


def _found(session: Session, best: searching.Found, as_json: bool, output: Path | None) -> int:
    if best.best is None:
        _answer(session.report(), [], as_json, output)
        raise Failure("even the lowest rate was too high: see --from and --p99")
    note = f"highest rate: {best.best.rate:,.0f}/s"
    if best.is_generator:
        note += "; the load generator could not offer more"
    _answer(session.report(notes=[note]), tables.of_run(best.best.result), as_json, output)
    return FINE


def _say_step(step: Step) -> None:
    kept = step.too_high or "kept"
    p99 = searching.p99_ms(step.result)
    achieved = step.result.achieved_per_s
    click.echo(f"{step.rate:>10,.0f}/s: {achieved:,.0f}/s done, p99 {p99:.1f} ms: {kept}", err=True)


@click.command("compare")
@click.argument("workloads", nargs=-1, type=click.Choice(list(WORKLOADS)))
@click.option("--peers", metavar="NAMES", help="Only these, by commas.  [default: all installed]")
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Turns of each."
)
@reported
@sized
def compare(
    workloads: Sequence[str],
    peers: str | None,
    rounds: int,
    sizes: dict[str, Any],
    as_json: bool,
    output: Path | None,
    work: Path | None,
) -> int:
    """Tidelog and every installed peer in turn, with ratios.

    Without --rate each publisher has --window messages under way and sends the next when one is
    acknowledged: what is compared is how many that makes. With a rate, compare latencies.

    \b
    Examples:
      tidelog bench compare
      tidelog bench compare publish --rate 2000 --peers redis,nats --output compared.json
    """
    only = None if peers is None else [name for name in peers.split(",") if name]
    chosen = [WORKLOADS[name] for name in dict.fromkeys(workloads or _COMPARED)]
    if sizes["rate"] is None and all(len(one.operations) == 1 for one in chosen):
        sizes["rate"] = 0.0
    planned = [(one, one.defaults.but(**sizes)) for one in chosen]
    with measuring(work) as session, comparing.contenders(session.work, only) as taking_part:
        failed = comparing.compare(session, taking_part, planned, rounds, _say_result)
        report = session.report(settings=taking_part.settings, notes=taking_part.notes + failed)
        _answer(report, [tables.ratios(report.results)], as_json, output)
    wrong = [result for result in report.results if not result.checked.is_right]
    return FAILED if failed or wrong else FINE


def _say_result(number: int, result: Result) -> None:
    click.echo(
        f"round {number}, {result.workload}, {result.driver}: {result.achieved_per_s:,.0f}/s, "
        f"{tables.verdict(result)}",
        err=True,
    )
    for line in tables.wrong(result.checked):
        click.echo(line, err=True)


@click.command("soak")
@click.option(
    "--minutes",
    type=click.FloatRange(0.1, 10_000),
    default=30.0,
    show_default=True,
    help="Under load, the kill in the middle.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 10),
    default=0.15,
    show_default=True,
    help="By how much, as a share, memory may grow from one quarter to the next.",
)
@click.option(
    "--p99",
    "budget_ms",
    type=click.FloatRange(min=0.01),
    default=100.0,
    metavar="MS",
    show_default=True,
    help="The budget of the search for the rate.",
)
@reported
@sized
def soak(
    minutes: float,
    tolerance: float,
    budget_ms: float,
    sizes: dict[str, Any],
    as_json: bool,
    output: Path | None,
    work: Path | None,
) -> int:
    """Half the highest rate for a while, with kill -9 in the middle: nothing lost, memory flat.

    The highest rate is searched for first, which takes up to a minute more, unless --rate says how
    much it is to be.

    \b
    Examples:
      tidelog bench soak --minutes 3
      tidelog bench soak --minutes 30 --rate 500 --output soak.json
    """
    with measuring(work) as session:
        soaked = soaking.soak(
            session,
            minutes=minutes,
            tolerance=tolerance,
            budget_ms=budget_ms,
            sizes=sizes,
            say=lambda text: click.echo(text, err=True),
        )
        report = session.report(results=[soaked.result], notes=soaked.notes)
        _answer(report, [soaked.table], as_json, output)
    return FINE if soaked.is_right else FAILED


def _answer(report: Report, shown: Sequence[Any], as_json: bool, output: Path | None) -> None:
    text = msgspec.json.format(msgspec.json.encode(report), indent=1)
    if output is not None:
        output.write_bytes(text + b"\n")
    on_request.write(report)
    if as_json:
        click.echo(text)
        return
    for table in shown:
        click.echo(table.text() + "\n")
    for note in report.notes:
        click.echo(note)
    click.echo(f"Disk before and after: {'; '.join(report.disk)}.")


BY_NAME = {one.name: one for one in (list_, run, search, compare, soak)}
