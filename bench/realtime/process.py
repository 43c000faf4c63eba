"""What a server process costs, as the kernel counts it."""

import os
import resource
from contextlib import suppress
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12  # fields of /proc/<pid>/stat after the command's closing parenthesis


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads so far, user and system, in ticks of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) * _TICK_S


def exact_cpu_seconds(pid: int) -> float:
    """The same to the nanosecond, of the threads that there are now."""
    spent = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            spent += int((thread / "schedstat").read_text().split()[0])
    return spent / 1e9


def resident_kib(pid: int) -> int:
    """Memory that the process holds now; what the kernel buffers for its sockets is not in it."""
    return _status_kib(pid, "VmRSS")


def anonymous_kib(pid: int) -> int:
    """The part of it that no file backs: not the pages of LMDB's map."""
    return _status_kib(pid, "RssAnon")


def raise_open_files() -> int:
    """As many descriptors as this process may have; its children inherit that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _status_kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ProcessLookupError(f"process {pid} has no {name}")
