"""`tidelog top` on a terminal, beside a real broker."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from websockets.sync.client import ClientConnection, connect

from api.realtime.protocol import Action
from tests.api.command_line import WITHIN_S, Serving, fine, inside, serving
from tests.api.top.terminal import on_terminal

COLOURS = re.compile(rb"\x1b\[(?:\d+;)*(?:3\d|4\d|9\d|10\d)[;m]")
HOSTILE = "a\x1b[2Jb"
WIDE = "\u983b\u9053-" * 30


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("top") / "data") as broker:
        yield broker


def key_of(broker: Serving) -> str:
    found = re.search(r"key +(\S+)", broker.welcome)
    assert found
    return found[1]


def publish(broker: Serving, channel: str, count: int = 1) -> None:
    user, _, password = key_of(broker).partition(":")
    path = (
        f"/channels/{channel.encode().hex('%')}" if channel == HOSTILE else f"/channels/{channel}"
    )
    reply = httpx.post(
        f"http://127.0.0.1:{broker.port}{path}/messages",
        json=[{"name": "n", "data": "12345"}] * count,
        auth=(user, password),
        timeout=WITHIN_S,
    )
    assert reply.status_code == 201, reply.text


@contextmanager
def attached(broker: Serving, *channels: str) -> Iterator[ClientConnection]:
    """A realtime connection that is attached, and reads nothing more."""

    def says(action: int, **fields: Any) -> None:
        socket.send(msgspec.json.encode({"action": action, **fields}).decode())

    def hears(action: int) -> None:
        while msgspec.json.decode(socket.recv(WITHIN_S))["action"] != action:
            pass

    with connect(f"ws://127.0.0.1:{broker.port}/?format=json&key={key_of(broker)}") as socket:
        hears(Action.CONNECTED)
        for channel in channels:
            says(Action.ATTACH, channel=channel)
            hears(Action.ATTACHED)
        yield socket


def test_what_happens_is_shown_within_80_by_24(served: Serving) -> None:
    with (
        attached(served, "orders", "quiet"),
        on_terminal("top", "--data", served.data, "--sort", "name") as terminal,
    ):
        terminal.until(lambda: terminal.row("orders"), partial(publish, served, "orders", 10))

        def flows() -> bool:
            *_, incoming, outgoing, connections, members = terminal.row("orders") or "--00"
            return incoming > "0" and outgoing > "0" and (connections, members) == ("1", "0")

        terminal.until(flows, partial(publish, served, "orders", 10))
        assert terminal.lines[0].startswith("tidelog ")
        terminal.until(lambda: terminal.row("realtime")[1] == "1")
        terminal.until(lambda: terminal.row("attachments")[1] == "2")
        assert terminal.row("quiet")[-4:] == ["0", "0", "1", "0"]
        assert "CHANNEL*" in terminal.text
        assert re.search(r"q quit  s sort: name  / filter  \d+ channels", terminal.text)
        assert re.search(r"sync +[\d.]+ ms", terminal.text)
        assert re.search(r"memory +\d[\d.]+ MiB", terminal.text)
        terminal.press("q")
        assert terminal.ended() == 0
        assert terminal.is_as_before()


def test_keys_sort_filter_and_leave(served: Serving) -> None:
    names = ("a-first", "b-second", "c-third")
    with attached(served, *names), on_terminal("top", "--data", served.data) as terminal:

        def shown() -> list[str]:
            return [name for name in names if terminal.row(name)]

        terminal.until(lambda: shown() == list(names))
        for head in ("IN/S", "ATTACHED", "MEMBERS", "CHANNEL", "OUT/S"):
            terminal.press("s")
            terminal.until(lambda head=head: f"{head}*" in terminal.text)
        terminal.press("/SECx\x7f")
        terminal.until(lambda: shown() == ["b-second"])
        terminal.until(lambda: "filter: SEC_" in terminal.text)
        terminal.press("q\x7f\r")  # while it is typed, q is a letter
        terminal.until(lambda: "1 channel containing SEC" in terminal.text)
        terminal.press("\x1b[A\x1bOB")  # arrows are no keys of ours
        terminal.press("\x1b")
        terminal.until(lambda: shown() == list(names) and "containing" not in terminal.text)
        terminal.press("q")
        assert terminal.ended() == 0


def test_it_fits_the_terminal_when_that_is_resized(served: Serving) -> None:
    names = [f"n{number:02}" for number in range(30)]
    with (
        attached(served, *names),
        on_terminal("top", "--data", served.data, "--sort", "name") as terminal,
    ):

        def fits() -> bool:
            return terminal.lines[-1].startswith("q quit")

        terminal.until(lambda: fits() and "APP" in terminal.text)
        assert [name for name in names if terminal.row(name)] == names[:13]
        terminal.resize(50, 12)
        terminal.until(lambda: fits() and "CHANNEL" in terminal.text and "APP" not in terminal.text)
        assert [name for name in names if terminal.row(name)] == names[:1]
        terminal.resize(30, 4)
        terminal.until(lambda: terminal.lines[0].startswith("tidelog"))
        terminal.resize(120, 50)
        terminal.until(lambda: all(terminal.row(name) for name in names))
        assert terminal.lines[0].startswith("tidelog")


def test_a_broker_that_goes_away_is_said_to_be_gone_and_is_found_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    line = ("top", "--data", data)
    with (
        serving(data) as first,
        on_terminal(*line) as coloured,
        on_terminal(*line, NO_COLOR="1") as plain,
    ):
        terminals = (coloured, plain)
        for terminal in terminals:
            terminal.until(lambda terminal=terminal: terminal.row("connections"))
        first.stop(signal.SIGKILL)
        for terminal in terminals:
            terminal.until(
                lambda terminal=terminal: "trying again: no broker is running on /" in terminal.text
            )
        with serving(data):
            for terminal in terminals:
                terminal.until(lambda terminal=terminal: "trying again" not in terminal.text)
                assert terminal.row("connections")
            coloured.press("\x03")
            plain.process.terminate()
            for terminal in terminals:
                assert terminal.ended() == 0
                assert terminal.is_as_before()
    assert COLOURS.search(coloured.raw)
    assert not COLOURS.search(plain.raw)


def test_names_cannot_move_the_cursor_or_break_the_columns(served: Serving) -> None:
    with (
        attached(served, HOSTILE, WIDE),
        on_terminal("top", "--data", served.data) as terminal,
    ):
        terminal.until(lambda: terminal.row(r"a\x1b[2Jb ") and terminal.row("\u983b"))
        assert terminal.row("\u983b")[-2:] == ["1", "0"]
        terminal.press("q")
        assert terminal.ended() == 0


def test_once_prints_one_plain_picture(served: Serving) -> None:
    with attached(served, "orders", "other"):
        line = ("top", "--once", "--data", served.data, "--filter", "ORD")
        text = fine(*line, how=inside, FORCE_COLOR="1").out
        assert "\x1b" not in text
        lines = text.splitlines()
        assert lines[0].startswith("tidelog ")
        assert max(map(len, lines)) <= 80
        assert len(lines) <= 24
        assert [row.split()[0] for row in lines if row.startswith("o")] == ["orders"]
        assert lines[-1] == "1 channel containing ORD"


def test_json_is_for_scripts(served: Serving) -> None:
    with attached(served, "orders", "other"):
        line = ("top", "--once", "--json", "--data", served.data, "--filter", "ord")
        (found,) = fine(*line, how=inside).json_lines
    (row,) = found["channels"]
    assert (row["channel"], row["attachments"], found["channelsFound"]) == ("orders", 1, 1)
    assert row["messagesOutPerSecond"] == 0
    assert found["figures"]["realtimeConnections"] >= 1
    assert found["figures"]["commitsPerSecond"] >= 0
    assert found["metrics"]["tidelog_attachments"] == found["figures"]["attachments"] >= 2
    assert found["seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 2, "this is not a terminal: use --once or --json"),
        (("--filter", "x" * 65), 2, "at most 64 characters"),
        (("--sort", "size"), 2, "'size' is not one of"),
    ],
)
def test_what_is_refused(
    served: Serving, arguments: tuple[str, ...], status: int, said: str
) -> None:
    ended = inside("top", "--data", served.data, *arguments)
    assert (ended.status, ended.out) == (status, "")
    assert said in ended.err


def test_without_a_broker_it_says_so_and_ends(tmp_path: Path) -> None:
    fine("publish", "demo", "hello", "--data", tmp_path, how=inside)
    ended = inside("top", "--json", "--data", tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert "no broker is running on" in ended.err
