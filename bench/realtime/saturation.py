"""A fan-out as fast as its broker can, in a process of its own, beside what is measured."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from time import perf_counter

import trio

from bench.realtime.process import raise_open_files
from bench.realtime.receivers import Receivers
from bench.realtime.wires import Wire

_spawning = multiprocessing.get_context("spawn")
_END_TIMEOUT_S = 60
_channels = count(1)


class LoadFailed(Exception):
    """The load ended before it was told to, or had no result."""


@dataclass
class Load:
    """Deliveries per second, known once it has ended."""

    per_second: float = 0.0


@contextmanager
def saturated(wire: Wire, subscribers: int, window: int) -> Iterator[Load]:
    """Deliveries flow when the body begins."""
    load = Load()
    ours, theirs = _spawning.Pipe()
    arguments = (wire, f"saturated-{next(_channels)}", subscribers, window, theirs)
    process = _spawning.Process(target=_run, args=arguments, daemon=True)
    process.start()
    theirs.close()
    try:
        _await(ours)
        yield load
        ours.send("stop")
        load.per_second = _await(ours)
    finally:
        process.terminate()
        process.join()


def _await(connection: Connection) -> float:
    try:
        if connection.poll(_END_TIMEOUT_S):
            return float(connection.recv())
    except (EOFError, ConnectionResetError):
        pass
    raise LoadFailed("the fan-out beside has ended by itself, or hangs")


def _run(wire: Wire, channel: str, subscribers: int, window: int, connection: Connection) -> None:
    raise_open_files()
    sockets = wire.subscribers(channel, subscribers)
    receivers = Receivers(wire.publisher(channel), sockets)
    receivers.keep_publishing(window)
    connection.send(0.0)
    began, before = perf_counter(), receivers.deliveries
    while not connection.poll():
        receivers.keep_publishing(window)
        receivers.take_latencies()
        receivers.receive_some()
    per_second = (receivers.deliveries - before) / (perf_counter() - began)
    receivers.receive_all()
    trio.run(receivers.finish)
    connection.send(per_second)
