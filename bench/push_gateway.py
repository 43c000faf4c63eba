"""`python -m bench.push_gateway`: takes every notification of webhooks, and counts them.

A process of its own, so that what it counted outlives the broker. It checks nothing and keeps next
to nothing, for it must not be what is measured.

    POST /<device>            a notification of the webhook transport for this device; its data says
                              of which run it is
    GET /<run>/<devices>      what came of a run, as soon as that many devices were told
"""

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import msgspec
import trio

from bench.acknowledged import Wrong

_ROOT = Path(__file__).parent.parent
_READ_BYTES = 1 << 16
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Counted(msgspec.Struct, frozen=True):
    """Of one run. received: notifications; devices and ids: how many different ones they were of.
    last_s: when the last of the devices was told, by `perf_counter`: all processes share it."""

    received: int
    devices: int
    ids: int
    last_s: float

    @property
    def twice(self) -> int:
        return self.received - self.devices

    def check(self, devices: int) -> None:
        """Raises Wrong unless this many were told, each under one id."""
        if self.devices != devices:
            raise Wrong(f"{self.devices} of {devices} devices were told")
        if self.ids != devices:
            raise Wrong(f"{self.devices} devices were told of one notification by {self.ids} ids")


class _Data(msgspec.Struct):
    run: int


class _Payload(msgspec.Struct):
    data: _Data


class _Notification(msgspec.Struct):
    id: str
    payload: _Payload


_read = msgspec.json.Decoder(_Notification).decode


@dataclass
class Run:
    received: int = 0
    devices: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    last_s: float = 0.0
    lot: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    def tell(self, device: str, id_: str) -> None:
        self.received += 1
        self.ids.add(id_)
        if device not in self.devices:
            self.devices.add(device)
            self.last_s = perf_counter()
            self.lot.unpark_all()

    async def counted(self, devices: int) -> Counted:
        """Waits until that many were told."""
        while len(self.devices) < devices:
            await self.lot.park()
        return Counted(self.received, len(self.devices), len(self.ids), self.last_s)


class Gateway:
    def __init__(self) -> None:
        self.runs: defaultdict[int, Run] = defaultdict(Run)

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection, until its client leaves; a killed one leaves without a word."""
        try:
            received = b""
            while True:
                while (end := _end(received)) is None:
                    more = await stream.receive_some(_READ_BYTES)
                    if not more:
                        return
                    received += more
                request, received = received[:end], received[end:]
                await stream.send_all(await self._answer(request))
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def _answer(self, request: bytes) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        method, target, _ = head.decode().split(" ", 2)
        if method == "POST":
            told = _read(body)
            self.runs[told.payload.data.run].tell(target[1:], told.id)
            return b"HTTP/1.1 204 \r\n\r\n"
        run, devices = map(int, target[1:].split("/"))
        text = msgspec.json.encode(await self.runs[run].counted(devices))
        return b"HTTP/1.1 200 \r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)


def _end(received: bytes) -> int | None:
    """Where the first request ends; None when it is not whole."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(received, 0, end)
    whole = end + 4 + (int(length[1]) if length else 0)
    return whole if len(received) >= whole else None


@contextmanager
def counting_gateway() -> Iterator[int]:
    """Yields its port."""
    command = [sys.executable, "-m", "bench.push_gateway"]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def _main() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listeners[0].socket.getsockname()[1], flush=True)
    await trio.serve_listeners(Gateway().serve, listeners)


if __name__ == "__main__":
    trio.run(_main)
