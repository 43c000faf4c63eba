"""`python -m bench.push_gateway <directory>`: takes every notification of APNs, and counts them.

A process of its own, so that what it counted outlives the broker. It checks nothing and keeps next
to nothing, for it must not be what is measured. In the directory is its certificate.

    HTTP/2, TLS      POST /3/device/<token>: a notification of the APNs transport; its data says of
                     which run it is
    HTTP/1.1         GET /<run>/<devices>: what came of a run, as soon as that many were told
"""

import ssl
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

import msgspec
import trio
import trustme

from bench.acknowledged import Wrong
from bench.push_frames import Frames, Unexpected

_ROOT = Path(__file__).parent.parent
_READ_BYTES = 1 << 16
_CERTIFICATE, _AUTHORITY = "gateway.pem", "gateway-ca.pem"


class Counted(msgspec.Struct, frozen=True):
    """Of one run. received: notifications; devices and ids: how many different ones they were of.
    last_s: when the last of the devices was told, by `perf_counter`: all processes share it.
    cpu_s: processor time of the gateway so far."""

    received: int
    devices: int
    ids: int
    last_s: float
    cpu_s: float = 0.0

    @property
    def twice(self) -> int:
        return self.received - self.devices

    def check(self, devices: int) -> None:
        """Raises Wrong unless this many were told, each under one id."""
        if self.devices != devices:
            raise Wrong(f"{self.devices} of {devices} devices were told")
        if self.ids != devices:
            raise Wrong(f"{self.devices} devices were told of one notification by {self.ids} ids")


class _Notification(msgspec.Struct):
    run: int


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
        found = len(self.devices), len(self.ids)
        return Counted(self.received, *found, self.last_s, process_time())


class Gateway:
    def __init__(self) -> None:
        self.runs: defaultdict[int, Run] = defaultdict(Run)

    async def notified(self, stream: trio.abc.Stream) -> None:
        """One connection, until its client leaves; a killed one leaves without a word."""
        frames = Frames(lambda path, id_, body: self.runs[_read(body).run].tell(path, id_))
        try:
            while data := await stream.receive_some(_READ_BYTES):
                answer = frames.receive(bytes(data))
                if answer:
                    await stream.send_all(answer)
        except trio.BrokenResourceError:
            pass
        except Unexpected as unexpected:
            print(unexpected, file=sys.stderr)
        finally:
            await trio.aclose_forcefully(stream)

    async def asked(self, stream: trio.SocketStream) -> None:
        """One connection, of `bench.http_client`: a request at a time, without a body."""
        received = b""
        async with stream:
            while more := await stream.receive_some(_READ_BYTES):
                received += more
                if received.endswith(b"\r\n\r\n"):
                    await stream.send_all(await self._answer(received.decode()))
                    received = b""

    async def _answer(self, request: str) -> bytes:
        run, devices = map(int, request.split(" ", 2)[1][1:].split("/"))
        text = msgspec.json.encode(await self.runs[run].counted(devices))
        return b"HTTP/1.1 200 \r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)


class Reached(NamedTuple):
    """Where a gateway is. authority: the file that makes a broker trust it."""

    url: str
    authority: Path
    questions: int


@contextmanager
def counting_gateway(directory: Path) -> Iterator[Reached]:
    certify(directory)
    command = [sys.executable, "-m", "bench.push_gateway", str(directory)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            notifications, questions = map(int, process.stdout.readline().split())
            url = f"https://127.0.0.1:{notifications}"
            yield Reached(url, directory / _AUTHORITY, questions)
        finally:
            process.kill()


def certify(directory: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / _AUTHORITY))
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(directory / _CERTIFICATE))


def server_context(directory: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / _CERTIFICATE)
    context.set_alpn_protocols(["h2"])
    return context


async def _main(directory: Path) -> None:
    gateway = Gateway()
    context = server_context(directory)
    notifications = await trio.open_tcp_listeners(0, host="127.0.0.1")
    questions = await trio.open_tcp_listeners(0, host="127.0.0.1")
    sockets = notifications[0].socket, questions[0].socket
    print(*(socket.getsockname()[1] for socket in sockets), flush=True)
    over_tls = [trio.SSLListener(one, context, https_compatible=True) for one in notifications]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, gateway.notified, over_tls)
        nursery.start_soon(trio.serve_listeners, gateway.asked, questions)


if __name__ == "__main__":
    trio.run(_main, Path(sys.argv[1]))
