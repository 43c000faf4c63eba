"""A process that has imported everything and opened nothing; it forks the writers that get killed.

Starting Python takes longer than a writer lives. The zygote has no thread and no LMDB environment,
so its forks begin as a fresh process does. It obeys one line at a time on its socket:

    fork PLAN   and one file descriptor, the journal's      -> the child's process id
    wait PID                                                -> how it ended, once it has

The parent kills; the zygote only reaps, so when `wait` answers every file and lock of the dead
process is released.
"""

import os
import socket
import subprocess

from tests.crash.tracing import ROOT, python

LINE_BYTES = 1 << 20
START_TIMEOUT_S = 60


class Zygote:
    """The parent's end. `module`: what its forks become."""

    def __init__(self, module: str = "tests.crash.killable") -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LINE_BYTES)
        ours.settimeout(START_TIMEOUT_S)
        self._socket = ours
        number = str(theirs.fileno())
        command = python(module, number)
        self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
        theirs.close()

    def fork(self, plan: str) -> tuple[int, int]:
        """(process id, journal to read from) of a new writer."""
        reader, writer = os.pipe()
        socket.send_fds(self._socket, [f"fork {plan}".encode()], [writer])
        os.close(writer)
        return int(self._socket.recv(100)), reader

    def wait(self, process: int) -> int:
        """The wait status of a process that was told, or made, to end."""
        self._socket.send(f"wait {process}".encode())
        return int(self._socket.recv(100))

    def close(self) -> None:
        self._socket.close()
        self._process.wait(START_TIMEOUT_S)
