"""The socket's file, `DIR/admin.sock`: private, replaced when stale, reached at any path length.

Whoever has the directory's log open for writing owns the file: so one that exists when the owner
makes its own is stale, and is replaced in one step by renaming. A connection is refused or finds no
file when no broker runs.

A socket address holds about 100 bytes and a data directory's path may be longer: then the address
goes through a descriptor of the directory (/proc/self/fd/N/admin.sock).
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

NAME = "admin.sock"
_DRAFT = f"{NAME}.{{pid}}"
ADDRESS_BYTES_MAX = 100  # 108 on Linux, 104 elsewhere, with room for what ends it
BACKLOG = 16
OWNER_ONLY = 0o600


@contextmanager
def listening(directory: Path) -> Iterator[trio.socket.SocketType]:
    """A listening socket at `directory/admin.sock`, mode 0600; the file is removed at the end."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    draft, name = directory / _DRAFT.format(pid=os.getpid()), directory / NAME
    with listener:
        os.fchmod(listener.fileno(), OWNER_ONLY)  # before it has a name that others could open
        draft.unlink(missing_ok=True)
        with _address(draft) as address:
            listener.bind(address)
        draft.chmod(OWNER_ONLY)
        listener.listen(BACKLOG)
        draft.rename(name)
        try:
            yield trio.socket.from_stdlib_socket(listener)
        finally:
            with contextlib.suppress(OSError):  # the directory is gone: so is the file
                name.unlink()


async def connect(directory: Path) -> trio.SocketStream | None:
    """A connection to the broker that runs on a directory, None if none does."""
    client = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(directory / NAME) as address:
            await client.connect(address)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        client.close()
        return None
    except BaseException:
        client.close()
        raise
    return trio.SocketStream(client)


def peer_uid(connection: trio.socket.SocketType) -> int | None:
    """Whose process is at the other end; None where the system does not say."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("iII"))
    return int(struct.unpack("iII", credentials)[1])


@contextmanager
def _address(path: Path) -> Iterator[str]:
    if len(os.fsencode(path)) <= ADDRESS_BYTES_MAX:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
