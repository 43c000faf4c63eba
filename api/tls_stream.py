"""One accepted socket with TLS on it: what `trio.SSLStream` is to others, and writes at once.

Owns the TLS state of one connection, over the standard library's `ssl.MemoryBIO`. It exists for
`write`: a delivery is encrypted and handed to the system in one synchronous step, where the
`send_all` of any stream takes a scheduler's turn, and a task to wait in.

Invariants: ciphertext leaves in the order TLS made it, and all of it, or the connection ends.
Whatever may make some goes on to `_push` before anything is awaited; what the system does not take
is `_unsent`, and what TLS makes after that stays behind it, in the BIO. Data is not encrypted while
something is unsent, so no more is ever held than one write made, and a few answers of TLS itself.
Whoever was cancelled leaves the stream usable.

Fault model: the peer ends without a goodbye (that is an end too), breaks the rules of TLS, or makes
it answer and does not read the answers: the last two break the connection. Refuses to be a client,
and relies on the context to refuse renegotiation and to take an end for an end.
"""

import contextlib
import os
import ssl

import trio

from api.sockets import Buffer, receive, wait_writable

RECORD_BYTES = 16 * 1024  # of plaintext, at most
ANSWERS_BYTES_MAX = 4096  # alerts that wait for a peer to read them


class TlsStream(trio.abc.Stream):
    __slots__ = (
        "_incoming",
        "_is_broken",
        "_is_ended",
        "_is_ready",
        "_outgoing",
        "_tls",
        "_unsent",
        "socket",
        "transport_stream",
    )

    def __init__(self, transport: trio.SocketStream, context: ssl.SSLContext) -> None:
        self.transport_stream = transport
        self.socket = transport.socket
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unsent: bytes | memoryview = b""
        self._is_ready = False
        self._is_ended = False
        self._is_broken = False

    @property
    def unsent_bytes(self) -> int:
        """Of ciphertext that the system did not take yet."""
        return len(self._unsent)

    def selected_alpn_protocol(self) -> str | None:
        return self._tls.selected_alpn_protocol()

    async def do_handshake(self) -> None:
        """Before anything else; again does nothing."""
        await trio.lowlevel.checkpoint()
        while not self._is_ready:
            self._is_ready = self._shake_hands()
            if self._is_ready and self._tls.version() == "TLSv1.3":
                # Session tickets. A client that never reads must not be reset for them: they go
                # before the first data.
                self._unsent = self._outgoing.read()
                return
            self._answer()
            await self._send_unsent()
            if not self._is_ready:
                await self._receive()

    def write(self, data: Buffer) -> int:
        """Encrypt it, and hand the system what it takes. Returns how much was encrypted: all, or
        nothing while something is unsent. Raises OSError when the connection is broken."""
        if self._unsent:
            self._push()
        if self._unsent or not data:
            return 0
        if self._is_broken:
            raise BrokenPipeError("the connection is broken")
        try:
            self._tls.write(data)
        except ssl.SSLError:  # or it waits for the rest of the peer's message: nobody sends halves
            self._is_broken = True
            raise
        self._push()
        return len(data)

    def write_many(self, buffers: list[Buffer]) -> int:
        """The same, and many become few records."""
        if self._unsent:
            self._push()
        return 0 if self._unsent else self.write(b"".join(buffers))

    async def send_all(self, data: Buffer) -> None:
        await trio.lowlevel.checkpoint()
        try:
            while data and not self.write(data):
                await wait_writable(self.socket)
        except OSError as error:
            raise trio.BrokenResourceError from error
        await self._send_unsent()

    async def wait_send_all_might_not_block(self) -> None:
        await wait_writable(self.socket)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """b"" at the end, whether the peer said goodbye or not."""
        await trio.lowlevel.checkpoint_if_cancelled()
        data = self._decrypt(max_bytes or RECORD_BYTES)
        if data is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return data
        while data is None:
            await self._receive()
            data = self._decrypt(max_bytes or RECORD_BYTES)
        return data

    async def aclose(self) -> None:
        """Says no goodbye: see the fault model."""
        await self.transport_stream.aclose()

    def _shake_hands(self) -> bool:
        """Whether they are shaken."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            self._answer()  # why
            raise trio.BrokenResourceError from error
        return True

    async def _receive(self) -> None:
        if data := await receive(self.socket):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _decrypt(self, max_bytes: int) -> bytes | None:
        """As much as there is; None where more has to be received first."""
        data = b""
        try:
            while not self._is_ended and len(data) < max_bytes:
                more = self._tls.read(min(RECORD_BYTES, max_bytes - len(data)))
                self._is_ended = not more
                data += more
                if not self._incoming.pending:
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._is_ended = True
            self._is_broken |= not self._incoming.eof
        self._answer()
        return self._read(data)

    def _read(self, data: bytes) -> bytes | None:
        if data:
            return data
        if self._is_broken:
            raise trio.BrokenResourceError("the connection is broken")
        return b"" if self._is_ended else None

    def _answer(self) -> None:
        """TLS may have something to say itself."""
        if self._outgoing.pending:
            with contextlib.suppress(OSError):  # who reads may still find what came before
                self._push()
            self._is_broken |= self._outgoing.pending > ANSWERS_BYTES_MAX

    def _push(self) -> None:
        """Hand the system what was encrypted, as far as it takes it."""
        data = self._unsent or self._outgoing.read()
        try:
            while data:
                sent = os.write(self.socket.fileno(), data)
                data = memoryview(data)[sent:] if sent < len(data) else self._outgoing.read()
        except BlockingIOError:
            pass
        except OSError:
            self._is_broken = True
            raise
        self._unsent = data

    async def _send_unsent(self) -> None:
        while self._unsent:
            await wait_writable(self.socket)
            try:
                self._push()
            except OSError as error:
                raise trio.BrokenResourceError from error


Stream = trio.SocketStream | TlsStream  # what a connection is served on
