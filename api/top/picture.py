"""The dashboard as text, for a terminal of any size: figures, then as many channels as there is
room for, then the keys.

Colours only say again what words say, so that nothing is lost without them. Names that somebody
chose are shown without what would move a cursor.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from api.cli.output import amount, instant, visible
from api.top.figures import Answers, ChannelRates, channels, figures
from api.top.wishes import SORTS, Wishes
from api.version import tidelog_version

NARROW_COLUMNS = 70  # below this, the app is left out
COLUMNS_OF_FIGURES = 3
UNKNOWN = "-"
Figures = dict[str, float | None]


class Shown(NamedTuple):
    """`lost`: why the broker cannot be asked, None while it can."""

    data: str
    answers: Answers | None
    lost: str | None


class Size(NamedTuple):
    columns: int
    lines: int


def picture(shown: Shown, wishes: Wishes, size: Size, *, keys: bool = True) -> RenderableType:
    """`keys`: somebody can press them."""
    if shown.answers is None:
        return Group(*_title(shown, {}), *_footer(wishes, 0, keys))
    found = figures(shown.answers)
    rows = wishes.chosen(channels(shown.answers))
    parts = [*_title(shown, found), _grid(found)]
    parts_lines = len(parts) - 1 + -(-len(_CELLS) // COLUMNS_OF_FIGURES)
    footer = _footer(wishes, max(len(rows), _matching(shown.answers, wishes)), keys)
    room = max(0, size.lines - parts_lines - len(footer) - 2)
    return Group(*parts, Text(""), _table(rows[:room], wishes, size), *footer)


def _matching(answers: Answers, wishes: Wishes) -> int:
    """How many there are, as far as the answer was to what is wished now."""
    found: int = answers.now["found"]
    return found if answers.contains[0] == wishes.contains else 0


def _title(shown: Shown, found: Figures) -> list[RenderableType]:
    title = Text(f"tidelog {tidelog_version()}")
    if shown.answers is not None:
        title.append(f"  up {_duration(found['uptimeSeconds'])}")
        title.append(f"  {instant(shown.answers.now['time'])[11:19]} UTC")
    title.append(f"  {visible(shown.data)}")
    lines = [title]
    if shown.lost is not None:
        lines.append(Text(f"trying again: {visible(shown.lost)}", style="bold red"))
    elif found.get("ready") == 0:
        lines.append(Text("writing has failed: nothing is taken any more", style="bold red"))
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return [*lines]


def _count(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f}"


def _rate(value: float | None) -> str:
    """Below ten, with what is behind the point: one in five seconds is not none."""
    if value is None:
        return UNKNOWN
    return f"{value:,.1f}" if 0 < value < 10 else f"{value:,.0f}"


def _per_second(value: float | None) -> str:
    return f"{_rate(value)}/s"


def _bytes(value: float | None) -> str:
    return UNKNOWN if value is None else amount(int(value))


def _bytes_per_second(value: float | None) -> str:
    return f"{_bytes(value)}/s"


def _milliseconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value * 1000:,.2f} ms"


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value * 100:.0f}%"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    return f"{days}d {h:02}:{m:02}:{s:02}" if days else f"{h:02}:{m:02}:{s:02}"


class _Cell(NamedTuple):
    """A figure of the picture. `worries`: any of it is worth a look."""

    label: str
    figure: str
    form: Callable[[float | None], str]
    worries: bool = False


# Column by column, from the top.
_CELLS = (
    _Cell("connections", "connections", _count),
    _Cell("realtime", "realtimeConnections", _count),
    _Cell("attachments", "attachments", _count),
    _Cell("slow", "slowConnections", _count, worries=True),
    _Cell("queued for them", "outboxesBytes", _bytes),
    _Cell("cpu", "cpuShare", _share),
    _Cell("memory", "residentBytes", _bytes),
    _Cell("messages in", "messagesInPerSecond", _per_second),
    _Cell("messages out", "messagesOutPerSecond", _per_second),
    _Cell("bytes out", "bytesOutPerSecond", _bytes_per_second),
    _Cell("requests", "requestsPerSecond", _per_second),
    _Cell("refused", "refusedPerSecond", _per_second, worries=True),
    _Cell("push waiting", "pushNotificationsWaiting", _count),
    _Cell("to try again", "pushAttemptsWaiting", _count, worries=True),
    _Cell("commits", "commitsPerSecond", _per_second),
    _Cell("sync", "syncSeconds", _milliseconds),
    _Cell("waiting", "commandsWaiting", _count),
    _Cell("log used", "logUsedBytes", _bytes),
    _Cell("log file", "logFileBytes", _bytes),
    _Cell("disk free", "diskFreeBytes", _bytes),
    _Cell("push fails at", "pushOpenCircuits", _count, worries=True),
)


def _grid(found: Figures) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    for _ in range(COLUMNS_OF_FIGURES):
        grid.add_column(no_wrap=True, overflow="ellipsis", style="dim")
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    lines = -(-len(_CELLS) // COLUMNS_OF_FIGURES)
    for line in range(lines):
        cells: list[Text] = []
        for cell in _CELLS[line::lines]:
            value = found[cell.figure]
            style = "bold yellow" if cell.worries and value else "bold"
            cells += [Text(cell.label), Text(cell.form(value), style=style)]
        grid.add_row(*cells)
    return grid


def _table(rows: Sequence[ChannelRates], wishes: Wishes, size: Size) -> Table:
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="reverse")
    is_wide = size.columns >= NARROW_COLUMNS
    heads = ["CHANNEL", *(["APP"] if is_wide else []), "IN/S", "OUT/S", "ATTACHED", "MEMBERS"]
    for head in heads:
        mark = "*" if head == SORTS[wishes.sort].head else ""
        is_text = head in ("CHANNEL", "APP")
        table.add_column(
            head + mark,
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if head == "CHANNEL" else None,
            justify="left" if is_text else "right",
        )
    for row in rows:
        numbers = (
            _rate(row.messages_in_per_second),
            _rate(row.messages_out_per_second),
            _count(row.attachments),
            _count(row.members),
        )
        app = (Text(visible(row.app)),) if is_wide else ()
        table.add_row(Text(visible(row.channel)), *app, *numbers)
    return table


def _footer(wishes: Wishes, count: int, keys: bool) -> list[Text]:
    found = f"{count:,} channel{'s' * (count != 1)}"
    named = f" containing {wishes.contains}" if wishes.contains else ""
    if not keys:
        return [Text(f"{found}{visible(named)}", no_wrap=True, overflow="ellipsis")]
    if wishes.is_typing:
        said = f"filter: {wishes.contains}_   Enter keeps it, Escape forgets it"
    else:
        said = f"q quit  s sort: {wishes.sort}  / filter  {found}{named}"
    return [Text(visible(said), no_wrap=True, overflow="ellipsis", style="bold")]
