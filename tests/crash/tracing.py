"""System calls of a run, as strace saw them: which thread did what, with which bytes, and when.

strace writes a line when a call begins and, if another thread got in between, a second one when it
returns. `begun` and `ended` are those line numbers: call A returned before call B began exactly if
A.ended < B.begun. strace stops a thread at both ends of a call, so this order is the real one.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.crash.require import tool, unavailable

ROOT = Path(__file__).parents[2]
RUN_TIMEOUT_S = 180
WRITES = {"write", "writev", "pwrite64", "pwritev"}
SYNCS = {"fdatasync", "fsync"}
_CALLS = ("openat", "close", "lseek", "ftruncate", "rename", *sorted(WRITES), *sorted(SYNCS))
_LINE = re.compile(r"^(\d+) +(.*)$")
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+|\?)(.*)$", re.DOTALL)
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_UNFINISHED = " <unfinished ...>"


@dataclass(slots=True)
class Call:
    """One system call. `path` and `flags` are those its file descriptor was opened with; a rename's
    `path` is the new one."""

    begun: int
    ended: int
    thread: int
    name: str
    args: str
    result: int
    injected: bool
    path: str = ""
    flags: str = ""
    offset: int = -1
    data: bytes = b""

    @property
    def failed(self) -> bool:
        return self.result < 0

    @property
    def fd(self) -> int:
        return int(self.args.split(",")[0].rstrip(")"))


def python(module: str, *args: str) -> list[str]:
    return [sys.executable, "-m", module, *args]


def run(command: Sequence[str], timeout_s: float = RUN_TIMEOUT_S, status: int = 0) -> str:
    """Run a program to its end and return its standard output. One that hangs, or fails, fails the
    test, and nothing of it is left running."""
    pipe = subprocess.PIPE
    child = subprocess.Popen(
        command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )
    try:
        out, err = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        raise AssertionError(f"{command} hangs; it said …{out[-1000:]}\n{err[-3000:]}") from None
    if "PTRACE_TRACEME" in err or "ptrace(" in err:
        unavailable(f"strace may not trace here: {err.strip()[:200]}")
    assert child.returncode == status, (
        f"{command} exited {child.returncode}: {out[-1000:]}\n{err[-3000:]}"
    )
    return out


def run_traced(
    command: Sequence[str], trace: Path, inject: Sequence[str] = (), *, killed: bool = False
) -> str:
    """Run `command` under strace and return its standard output. `inject` as in strace(1); `killed`
    if that is to kill it."""
    faults = [part for fault in inject for part in ("-e", f"inject={fault}")]
    watched = ["-e", f"trace={','.join(_CALLS)}"]
    strace = [tool("strace"), "-f", "-xx", "-s", "1000000", "-o", str(trace), *watched, *faults]
    return run([*strace, "--", *command], status=-signal.SIGKILL if killed else 0)


def read_trace(trace: Path) -> list[Call]:
    """The calls in the order in which they began, with their files and bytes worked out."""
    calls = sorted(_calls(trace), key=lambda call: call.begun)
    _follow_files(calls)
    return calls


def _calls(trace: Path) -> Iterator[Call]:
    pending: dict[int, tuple[int, str]] = {}
    with trace.open() as lines:
        for number, line in enumerate(lines):
            match = _LINE.match(line.rstrip("\n"))
            if match is None:
                continue
            thread, text = int(match[1]), match[2]
            if text.endswith(_UNFINISHED):
                pending[thread] = (number, text.removesuffix(_UNFINISHED))
                continue
            resumed = _RESUMED.match(text)
            begun, head = pending.pop(thread, (number, "")) if resumed else (number, "")
            found = _CALL.match(head + resumed[2] if resumed else text)
            if found:
                yield _call(begun, number, thread, found)


def _call(begun: int, ended: int, thread: int, found: re.Match[str]) -> Call:
    name, args, result, rest = found.groups()
    value = -1 if result == "?" else int(result)
    return Call(begun, ended, thread, name, args, value, "(INJECTED)" in rest)


def unescape(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _follow_files(calls: list[Call]) -> None:
    """Say of each call which file it was on and where it wrote. Threads share files."""
    files: dict[int, tuple[str, str]] = {}
    places: dict[int, int] = {}
    for call in calls:
        if call.name == "openat":
            parts = call.args.split(", ")
            call.path, call.flags = unescape(parts[1].strip('"')).decode(), parts[2]
            if not call.failed:
                files[call.result], places[call.result] = (call.path, call.flags), 0
        elif call.name == "rename":
            call.path = unescape(_STRING.findall(call.args)[1]).decode()
        else:
            call.path, call.flags = files.get(call.fd, ("", ""))
            _place(call, places)


def _place(call: Call, places: dict[int, int]) -> None:
    fd = call.fd
    if call.name == "lseek" and not call.failed:
        places[fd] = call.result
    if call.name not in WRITES:
        return
    call.data = b"".join(unescape(part) for part in _STRING.findall(call.args))
    if call.name.startswith("p"):
        call.offset = int(call.args.rsplit(", ", 1)[1])
        return
    call.offset = places.get(fd, 0)
    if not call.failed:
        places[fd] = call.offset + call.result


def lines_written(calls: list[Call], fd: int = 1) -> Iterator[tuple[Call, str]]:
    """The journal lines of a run, each with the write that let it out. A child that an import
    starts (ldconfig, by ctypes) writes lines too; none begins with a word of
    ours, but one may be cut in two."""
    for call in calls:
        if call.name == "write" and call.fd == fd:
            for line in call.data.decode().splitlines():
                if line.strip():
                    yield call, line


def kth(calls: list[Call], name: str, wanted: Callable[[Call], bool], skip: int = 0) -> int:
    """Which call of `name` on its thread is the first wanted one since the hold, plus `skip`."""
    hold = next(call.begun for call, line in lines_written(calls) if line == "H")
    target = [c for c in calls if c.begun > hold and c.name == name and wanted(c)][skip]
    mine = [c for c in calls if c.thread == target.thread and c.name == name]
    return mine.index(target) + 1


def is_meta(call: Call) -> bool:
    return call.path.endswith("data.mdb") and "O_DSYNC" in call.flags


def is_page(call: Call) -> bool:
    return call.path.endswith("data.mdb") and "O_DSYNC" not in call.flags
