"""Waiting for a moment to within some ten microseconds, in any event loop.

An event loop's own timeouts end on whole milliseconds (epoll_wait takes no less), and latency
counts from when an operation was due: that millisecond would be in every one. The kernel's timerfd
is a descriptor that becomes readable at a moment; Python has it from 3.13 on, the C library always.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from bench.load.body import now_ns

_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1
_NS = 1_000_000_000
_EXPIRATIONS_BYTES = 8
_SHORTEST_NS = 20_000  # what setting a timer takes


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timer(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Pacer:
    """One waiter at a time. Made by `pacer`."""

    def __init__(self, library: ctypes.CDLL, descriptor: int) -> None:
        self._library = library
        self._descriptor = descriptor

    async def until(self, moment_ns: int) -> None:
        """By CLOCK_MONOTONIC. Others get their turn also when the moment has passed."""
        if moment_ns - now_ns() < _SHORTEST_NS:
            await anyio.lowlevel.checkpoint()
            return
        timer = _Timer(_Timespec(0, 0), _Timespec(*divmod(moment_ns, _NS)))
        if self._library.timerfd_settime(self._descriptor, _ABSOLUTE, ctypes.byref(timer), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        await anyio.wait_readable(self._descriptor)
        os.read(self._descriptor, _EXPIRATIONS_BYTES)


@contextmanager
def pacer() -> Iterator[Pacer]:
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = library.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    try:
        yield Pacer(library, descriptor)
    finally:
        os.close(descriptor)
