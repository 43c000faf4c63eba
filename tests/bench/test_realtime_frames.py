"""Frames and the opening of sessions: what the load sends is what the server's own reader reads."""

import pytest

from bench.realtime.frames import JSON, MSGPACK, RESUMED, Format, masked, payloads
from bench.realtime.sessions import Session, _Refused


def unmasked(frame: bytes) -> bytes:
    """The payload of a client's frame, as RFC 6455 5.3 says."""
    short = frame[1] & 0x7F
    wide = {126: 2, 127: 8}.get(short, 0)
    size = int.from_bytes(frame[2 : 2 + wide]) if wide else short
    key, hidden = frame[2 + wide : 6 + wide], frame[6 + wide :]
    assert (frame[0], frame[1] & 0x80, len(hidden)) == (0x81, 0x80, size)
    return bytes(byte ^ key[at % 4] for at, byte in enumerate(hidden))


def served(payload: bytes) -> bytes:
    """A server's frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2) + payload
    return b"\x81\x7f" + size.to_bytes(8) + payload


SIZES = [0, 1, 125, 126, 300, 65_535, 65_536]


@pytest.mark.parametrize("size", SIZES)
def test_masked_frames_hold_their_payload(size: int):
    payload = bytes(number % 251 for number in range(size))
    assert unmasked(masked(payload)) == payload


def test_payloads_are_read_frame_by_frame():
    texts = [b"x" * size for size in SIZES]
    ping = b"\x89\x01p"
    stream = b"".join(served(text) + ping for text in texts)
    assert payloads(stream) == (texts, b"")


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_that_is_not_whole_is_left(size: int):
    whole = served(b"x" * size)
    for cut in {0, 1, 2, 3, 9, len(whole) - 1} - {len(whole)}:
        if cut < len(whole):
            assert payloads(whole[:cut]) == ([], whole[:cut])


def test_nothing_is_read_behind_a_close():
    assert payloads(served(b"a") + b"\x88\x00" + served(b"b"))[0] == [b"a"]


def test_messages_are_decoded():
    ack = b'{"action":1,"msgSerial":3,"count":1,"res":[{"serials":["a@b:000"]}],"new":null}'
    (message,) = JSON.messages(served(ack))
    assert (message.action, message.msgSerial, message.res[0].serials) == (1, 3, ["a@b:000"])


@pytest.mark.parametrize("spoken", [JSON, MSGPACK])
@pytest.mark.parametrize(
    ("message", "count"),
    [
        ({"action": 0}, 0),
        ({"action": 1, "msgSerial": 0, "count": 7, "res": [{"serials": ["a"]}]}, 7),
        ({"action": 2, "msgSerial": 0, "count": 2, "error": {"code": 40000}}, 2),
    ],
)
def test_only_answers_are_counted(spoken: Format, message: dict[str, object], count: int):
    assert spoken.count(spoken.encode(message)) == count


def test_a_session_speaks_its_format():
    session = Session("a", MSGPACK)
    assert b"format=msgpack" in session.upgrade()
    details = {"connectionKey": "k"}
    told = {"action": 4, "connectionId": "c", "connectionDetails": details}
    payload = MSGPACK.encode(told)
    frame = bytes((0x82, len(payload))) + payload
    answer, is_open = session.feed(SWITCHED + frame)
    assert not is_open
    assert answer[0] == 0x82
    attach = unmasked(b"\x81" + answer[1:])
    assert attach == MSGPACK.encode({"action": 10, "channel": "a"})


SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
CONNECTED = served(b'{"action":4,"connectionId":"c1","connectionDetails":{"connectionKey":"c1!k"}}')
ATTACHED = served(b'{"action":11,"channel":"a","channelSerial":"s1","flags":4}')


def opened(session: Session, attached: bytes = ATTACHED) -> list[bytes]:
    """What the session asks in its ATTACH, fed byte by byte."""
    sent = b""
    session.upgrade()
    for byte in SWITCHED + CONNECTED:
        answer, is_open = session.feed(bytes((byte,)))
        sent += answer
        assert not is_open
    assert session.feed(attached) == (b"", True)
    return [unmasked(sent)] if sent else []


def test_a_session_connects_attaches_and_then_resumes():
    session = Session("a")
    assert b"resume" not in session.upgrade()
    assert opened(session) == [b'{"action":10,"channel":"a"}']
    assert (session.connection_id, session.kept_id) == ("c1", False)
    assert b"&resume=c1!k " in session.upgrade()
    assert opened(session) == [b'{"action":10,"channel":"a","channelSerial":"s1"}']
    assert session.kept_id
    assert session.flags & RESUMED


def test_a_session_without_a_channel_is_open_when_connected():
    session = Session("")
    session.upgrade()
    assert session.feed(SWITCHED + CONNECTED) == (b"", True)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
        SWITCHED + served(b'{"action":6,"error":{"code":80003}}'),
        SWITCHED + served(b'{"action":9,"error":{"code":40101}}'),
    ],
)
def test_a_refusal_is_no_open_session(said: bytes):
    session = Session("a")
    session.upgrade()
    with pytest.raises(_Refused):
        session.feed(said)
