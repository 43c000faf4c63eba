"""The machine that a result was measured on, and how its disk syncs right now."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

from bench.measuring import percentile

_PACKAGES = ("trio", "lmdb", "msgpack", "msgspec", "hypercorn", "quart")
_SYNCS = 100
_ROOT = Path(__file__).parent.parent


def describe(work: Path) -> dict[str, str]:
    """What a reader needs to judge numbers by. `work`: where the data directories are."""
    return {
        "processor": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{_meminfo('MemTotal') >> 20} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(work),
        "load average at the start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
        "redis": _said(["redis-server", "--version"]) or "not installed",
        "commit": _commit(),
    }


def sync_speed(work: Path) -> str:
    """p50 and p99 of fdatasync after appending a 4 KiB page: what one commit waits for twice."""
    path = work / "sync-speed"
    taken: list[float] = []
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for page in range(_SYNCS):
            os.pwrite(handle, bytes(4096), page * 4096)
            began = perf_counter()
            os.fdatasync(handle)
            taken.append(perf_counter() - began)
    finally:
        os.close(handle)
        path.unlink()
    p50, p99 = percentile(taken, 0.5) * 1e3, percentile(taken, 0.99) * 1e3
    return f"fdatasync p50 {p50:.2f} ms, p99 {p99:.2f} ms"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _meminfo(name: str) -> int:
    """In KiB."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def _file_system(path: Path) -> str:
    """The type of the file system that holds `path`. On tmpfs a sync costs nothing: say so."""
    holds = [
        (mount, kind)
        for _, mount, kind, *_ in map(str.split, Path("/proc/mounts").read_text().splitlines())
        if path.resolve().is_relative_to(mount)
    ]
    kind = max(holds, key=lambda found: len(found[0]))[1]
    return f"{kind} (IN MEMORY: nothing here is durable)" if kind == "tmpfs" else kind


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "?"


def _commit() -> str:
    commit = _said(["git", "rev-parse", "--short", "HEAD"])
    return f"{commit}, with changes" if _said(["git", "status", "--porcelain"]) else commit


def _said(command: Sequence[str]) -> str:
    """The first line that a command prints; empty when there is no such command."""
    try:
        ran = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return ran.stdout.partition("\n")[0]
