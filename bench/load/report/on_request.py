"""`--html FILE`, of every command that measures."""

from pathlib import Path

import click

from bench.load.report.page import page
from bench.load.result import Report

_KEY = f"{__name__}.path"


def _keep(context: click.Context, option: click.Parameter, path: Path | None) -> None:
    """A place where no file can be is told of before minutes were measured for it."""
    if path is not None and not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no directory {path.parent}", context, option)
    context.meta[_KEY] = path


html = click.option(
    "--html",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    expose_value=False,
    callback=_keep,
    help="Write a report with plots to a file, too.",
)


def write(report: Report) -> None:
    """If it was asked for."""
    path: Path | None = click.get_current_context().meta[_KEY]
    if path is not None:
        path.write_text(page(report), encoding="utf-8")
