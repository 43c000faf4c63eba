"""bench/RESULTS.json holds the last result of each benchmark; RESULTS.md is written from it.

So one benchmark can be run again without the others, and every section says when, on what and by
which command it was measured.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.tables import Result

DIRECTORY = Path(__file__).parent
HEAD = """\
# What was measured

Written by `python -m bench all --write`; do not edit. The same numbers as JSON: RESULTS.json.

How to read it. Contenders of one table took turns within one run, A B A B …; the ratio is the
median of the turns' ratios and is the number to trust: absolute numbers move with whatever else
the machine does, most of all with how long its disk takes to sync, which is printed with each
section. Latency is from the call to the acknowledgement, exact percentiles over all calls. After
every row all that was acknowledged was looked for in the log: a row that lost or doubled a
message would not be here. In `log`, `layouts`, `history`, `annotations` and `versions` publishers
and the broker (or the client of the peer) share one process and its interpreter lock; the others
drive a server of their own over the wire. In `push` it is the devices' gateway that must have been
told of everything.
"""


def merge(found: Sequence[Result], directory: Path = DIRECTORY) -> None:
    """Replace the sections of `found`, keep the others."""
    path = directory / "RESULTS.json"
    kept = msgspec.json.decode(path.read_bytes(), type=list[Result]) if path.exists() else []
    fresh = {result.name: result for result in found}
    results = [fresh.pop(result.name, result) for result in kept] + list(fresh.values())
    path.write_bytes(msgspec.json.format(as_json(results), indent=1) + b"\n")
    (directory / "RESULTS.md").write_text(markdown(results))


def as_json(results: Sequence[Result]) -> bytes:
    return msgspec.json.encode(results)


def markdown(results: Sequence[Result]) -> str:
    return "\n".join([HEAD, *map(_section, results)])


def _section(result: Result) -> str:
    facts = {
        "measured": f"{result.date}, in {result.seconds:.0f} s, by `{result.command}`",
        **result.machine,
        "disk before and after": "; ".join(result.disk),
    }
    lines = [f"- {name}: {fact}" for name, fact in facts.items()]
    tables = [f"{table.markdown()}\n" for table in result.tables]
    head = [f"## {result.name}: {result.title}", "", *lines, ""]
    return "\n".join(
        [*head, *tables, "What is not comparable, and what to mind:", "", result.caveats]
    )


def text(result: Result) -> str:
    """For a terminal."""
    tables = "\n\n".join(table.text() for table in result.tables)
    return f"{result.name}: {result.title} ({'; '.join(result.disk)})\n\n{tables}\n"
