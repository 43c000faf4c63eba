"""Frames as bytes, without a socket: read however they are cut, judged as the library judges."""

import contextlib
import itertools
import random

import pytest
from websockets.frames import Frame as LibraryFrame
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from api.realtime.framing import Frame, FrameReader, binary_frame, text_frame
from tests.api.websocket_client import masked

BROKEN_FRAME_BYTES_MAX = 70_000


def test_frames_are_read_the_same_however_they_are_cut() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(50):
        sent, wire = _messages(chance)
        reader, got, at = FrameReader(70_000), [], 0
        while at < len(wire):
            step = chance.choice([1, 2, 7, 100, 5000, 65_536])
            got += reader.feed(wire[at : at + step])
            at += step
        assert got == sent


def test_broken_frames_are_judged_as_the_library_alone_judges_them() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(300):
        wire = bytearray(_messages(chance)[1] + bytes(BROKEN_FRAME_BYTES_MAX + 14))
        for _ in range(chance.randrange(4)):
            wire[chance.randrange(min(len(wire), 300))] ^= 1 << chance.randrange(8)
        reader = FrameReader(BROKEN_FRAME_BYTES_MAX)
        found = reader.feed(bytes(wire))
        expected, answer = _library(bytes(wire))
        assert found == expected
        if answer is not None:
            assert reader.to_send() == answer


def _library(wire: bytes) -> tuple[list[Frame], bytes | None]:
    """Messages and answers of `websockets` alone, which leaves it to others whether texts are
    UTF-8: no answer, and nothing after it, where one is not."""
    protocol = ServerProtocol(state=OPEN, max_size=BROKEN_FRAME_BYTES_MAX)
    protocol.receive_data(wire)
    found: list[Frame] = []
    pieces: list[bytes] = []
    is_text = False
    for event in protocol.events_received():
        assert isinstance(event, LibraryFrame)
        if event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            continue
        is_text = event.opcode is Opcode.TEXT or (event.opcode is Opcode.CONT and is_text)
        pieces.append(bytes(event.data))
        if event.fin:
            data, pieces = b"".join(pieces), []
            with contextlib.suppress(UnicodeDecodeError):
                found.append(Frame(not is_text, data if not is_text else data.decode().encode()))
                continue
            return found, None
    return found, b"".join(protocol.data_to_send())


def _messages(chance: random.Random) -> tuple[list[Frame], bytes]:
    """Some messages, and what a client sends for them: in fragments, with pings between."""
    sent, wire = [], bytearray()
    for _ in range(chance.randrange(1, 8)):
        binary = chance.random() < 0.5
        data = b"x" * chance.choice([0, 1, 125, 126, 1000, 65_535, 65_536])
        sent.append(Frame(binary, data))
        cuts = sorted(chance.choices(range(len(data) + 1), k=chance.choice([0, 0, 1, 5])))
        pieces = [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)])]
        for index, piece in enumerate(pieces):
            opcode = (2 if binary else 1) if index == 0 else 0
            wire += masked(opcode, piece, fin=index == len(pieces) - 1)
            if chance.random() < 0.3:
                wire += masked(chance.choice([9, 10]), b"between")
    return sent, bytes(wire)


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, "00"),
        (125, "7d"),
        (126, "7e007e"),
        (65_535, "7effff"),
        (65_536, "7f0000000000010000"),
    ],
)
def test_frames_to_clients(size: int, head: str) -> None:
    assert text_frame(bytes(size)) == b"\x81" + bytes.fromhex(head) + bytes(size)
    assert binary_frame(bytes(size)) == b"\x82" + bytes.fromhex(head) + bytes(size)
