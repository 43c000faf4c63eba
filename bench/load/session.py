"""What the commands share: a run on a contender with the generator's limit beside it, and a report
of the machine it was made on."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from api.version import tidelog_version
from bench import machine
from bench.load.contenders import Contender
from bench.load.driver import Backend
from bench.load.measuring import limit_of, measure
from bench.load.options import Options
from bench.load.result import Report, Result
from bench.load.workloads import Workload


class Session:
    """Runs of one command. The generator's limit is measured once for each workload and loop, with
    the options of its first run."""

    def __init__(self, command: str, work: Path) -> None:
        self._command = command
        self.work = work
        self._began = datetime.now(UTC).isoformat(timespec="seconds")
        self._machine = machine.describe(work)
        self._disk = machine.sync_speed(work)
        self._limits: dict[tuple[str, Backend], float | None] = {}
        self.results: list[Result] = []
        self.version = tidelog_version()

    def run(self, contender: Contender, workload: Workload, options: Options) -> Result:
        """Raises BadOption, and what a driver cannot go on with."""
        result = measure(
            contender.driver,
            workload,
            options,
            name=f"bench-{secrets.token_hex(6)}",
            version=contender.version,
            server_pid=contender.server_pid,
            limit=self._limit(contender.driver.backend, workload, options),
        )
        self.results.append(result)
        return result

    def _limit(self, backend: Backend, workload: Workload, options: Options) -> float | None:
        key = workload.name, backend
        if key not in self._limits:
            self._limits[key] = limit_of(workload, options, backend)
        return self._limits[key]

    def report(
        self,
        results: Sequence[Result] | None = None,
        settings: Mapping[str, str] | None = None,
        notes: Iterable[str] = (),
    ) -> Report:
        return Report(
            command=self._command,
            began=self._began,
            machine=self._machine,
            disk=[self._disk, machine.sync_speed(self.work)],
            results=list(self.results if results is None else results),
            settings=dict(settings or {}),
            notes=list(notes),
        )
