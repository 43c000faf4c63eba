"""`python -m bench <name>`: run a benchmark, print it, and with --write put it into RESULTS.md."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import results
from bench.registry import BENCHMARKS, measure
from bench.scale import FULL, QUICK, TINY, Scale
from bench.tables import Result
from broker.process import rest_garbage_collector


def parser() -> argparse.ArgumentParser:
    names = "\n".join(f"  {item.name:11} {item.title}" for item in BENCHMARKS.values())
    made = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure this broker beside its peers.",
        epilog=f"benchmarks:\n{names}\n  all         every one of them",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("name", choices=[*BENCHMARKS, "all"], metavar="NAME")
    size = made.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a look: shorter turns, smaller logs")
    size.add_argument("--tiny", action="store_true", help="only whether it runs")
    made.add_argument("--json", action="store_true", help="print JSON instead of tables")
    made.add_argument("--write", action="store_true", help="put the results into bench/RESULTS.md")
    made.add_argument(
        "--work", type=Path, metavar="DIR", help="where data directories go: on the disk to measure"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    scale = QUICK if arguments.quick else TINY if arguments.tiny else FULL
    names = list(BENCHMARKS) if arguments.name == "all" else [arguments.name]
    command = " ".join(["python -m bench", *(sys.argv[1:] if argv is None else argv)])
    rest_garbage_collector()  # as `tidelog serve` does
    found: list[Result] = []
    for name in names:
        found.append(_run(name, scale, arguments.work, command))
        if not arguments.json:
            print(results.text(found[-1]), flush=True)
        if arguments.write:
            results.merge(found[-1:])
    if arguments.json:
        print(results.as_json(found).decode())
    return 0


def _run(name: str, scale: Scale, parent: Path | None, command: str) -> Result:
    work = Path(tempfile.mkdtemp(prefix="tidelog-bench-", dir=parent))
    try:
        return measure(BENCHMARKS[name], scale, work, command)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
