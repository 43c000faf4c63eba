"""The broker without async: any number of threads, each call done when it returns.

What needs a process of its own, for its exit or its Ctrl-C, is run in one.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trio

import broker.blocking
from broker import BadRequest, BrokerSettings, NotFound, Unavailable
from broker.blocking import Broker
from broker.errors import InUse
from broker.push.service import DeviceSpec
from broker.storage_errors import CLOSED
from broker.trio_thread import TrioThread
from tests.documents import ROOT

STUCK_S = 20


@pytest.fixture
def blocking(path: Path) -> Iterator[Broker]:
    with broker.blocking.open(path) as b:
        yield b


def names(b: Broker, channel: str = "c") -> list[str | None]:
    return [m.name for m in b.channel(channel).history(limit=1000, direction="forwards").messages]


def test_what_is_published_is_in_history_and_stays(path: Path) -> None:
    with broker.blocking.open(path) as b:
        serial = b.channel("c").publish("n", {"a": 1}, id="i").serials
    with broker.blocking.open(path) as b:
        assert b.channel("c").publish("n", {"a": 1}, id="i").serials == serial
        (message,) = b.channel("c").history().messages
        assert (message.name, message.data, message.id) == ("n", '{"a":1}', "i")


def test_pages_of_history_go_on(blocking: Broker) -> None:
    channel = blocking.channel("c")
    for number in range(5):
        channel.publish(str(number))
    page = channel.history(limit=3)
    assert page.next is not None
    more = channel.history_page(page.next)
    assert [m.name for m in (*page.messages, *more.messages)] == ["4", "3", "2", "1", "0"]


@pytest.mark.parametrize(
    ("channel", "app", "error"), [("", None, BadRequest), ("c", "nobody", NotFound)]
)
def test_errors_are_the_broker_s_own(
    blocking: Broker, channel: str, app: str | None, error: type[Exception]
) -> None:
    wrong = blocking.channel(channel, app=app)
    with pytest.raises(error):
        wrong.publish("n")
    with pytest.raises(error):
        wrong.history()
    with pytest.raises(error):
        wrong.subscribe()


def test_a_directory_in_use_is_refused_and_can_be_opened_later(path: Path) -> None:
    with broker.blocking.open(path), pytest.raises(InUse):
        broker.blocking.open(path)
    broker.blocking.open(path).close()


def test_two_brokers_in_one_process_are_two(path: Path, tmp_path: Path) -> None:
    with broker.blocking.open(path) as a, broker.blocking.open(tmp_path / "other") as b:
        a.channel("c").publish("a")
        b.channel("c").publish("b")
        assert (names(a), names(b)) == (["a"], ["b"])
        a.close()
        b.channel("c").publish("c")
        assert names(b) == ["b", "c"]


def test_many_threads_publish_and_one_reads_everything_once(blocking: Broker) -> None:
    threads, each = 8, 50

    def publish(thread: int) -> None:
        for number in range(each):
            blocking.channel("c").publish(f"{thread}.{number}")

    with blocking.channel("c").subscribe() as messages, ThreadPoolExecutor(threads) as pool:
        list(pool.map(publish, range(threads)))
        seen = [messages.next(STUCK_S).name for _ in range(threads * each)]
    assert seen == names(blocking)
    for thread in range(threads):
        mine = [name for name in seen if name and name.startswith(f"{thread}.")]
        assert mine == [f"{thread}.{number}" for number in range(each)]


def test_threads_that_share_a_subscription_share_its_messages(blocking: Broker) -> None:
    count = 300
    with blocking.channel("c").subscribe() as messages, ThreadPoolExecutor(4) as pool:
        for number in range(count):
            blocking.channel("c").publish(str(number))
        share = [pool.submit(lambda: messages.next(STUCK_S).name) for _ in range(count)]
        taken = [one.result() for one in share]
    assert sorted(map(int, filter(None, taken))) == list(range(count))


def test_a_subscriber_that_falls_behind_misses_nothing(path: Path) -> None:
    settings = BrokerSettings(subscription_messages_max=2)
    with broker.blocking.open(path, settings=settings) as b:
        b.channel("c").publish("past")
        with b.channel("c").subscribe(rewind=1) as messages:
            for number in range(50):
                b.channel("c").publish(str(number))
            seen = [messages.next(STUCK_S).name for _ in range(51)]
        assert seen == ["past", *map(str, range(50))]


def test_giving_up_on_a_message_loses_none(blocking: Broker) -> None:
    """A reader whose every wait is about as long as it takes for a message to come."""
    total = 200
    with blocking.channel("c").subscribe() as messages:
        publishing = threading.Thread(
            target=lambda: [blocking.channel("c").publish(str(n)) for n in range(total)]
        )
        publishing.start()
        seen: list[str | None] = []
        gave_up = 0
        while len(seen) < total and gave_up < 1_000_000:
            try:
                seen.append(messages.next(gave_up % 20 * 1e-4).name)
            except TimeoutError:
                gave_up += 1
        publishing.join()
    print("gave up", gave_up, "times")
    assert gave_up > 0
    assert seen == [str(number) for number in range(total)]


def test_closing_a_subscription_ends_it_in_the_thread_that_waits(blocking: Broker) -> None:
    messages = blocking.channel("c").subscribe()
    blocking.channel("c").publish("n")
    begun, seen = threading.Event(), []

    def follow() -> None:
        for message in messages:
            seen.append(message.name)
            begun.set()

    following = threading.Thread(target=follow)
    following.start()
    assert begun.wait(STUCK_S)
    messages.close()
    following.join(STUCK_S)
    assert (following.is_alive(), seen) == (False, ["n"])
    assert list(messages) == []
    blocking.channel("c").publish("the broker goes on")


def test_a_closed_broker_says_so_to_who_waits_and_who_comes(path: Path) -> None:
    b = broker.blocking.open(path)
    messages = b.channel("c").subscribe()
    b.channel("c").publish("n")
    waiting = threading.Event()

    def follow() -> int:
        messages.next(STUCK_S)
        waiting.set()
        with pytest.raises(Unavailable) as refused:
            messages.next(STUCK_S)
        return refused.value.code

    with ThreadPoolExecutor() as pool:
        code = pool.submit(follow)
        assert waiting.wait(STUCK_S)
        b.close()
        b.close()
        assert code.result() == CLOSED
    for call in (b.channel("c").history, b.channel("c").subscribe, messages.next):
        with pytest.raises(Unavailable) as refused:
            call()
        assert refused.value.code == CLOSED
    messages.close()


def test_the_whole_broker_is_there_for_a_call(blocking: Broker) -> None:
    async def register(b: broker.Broker) -> str:
        spec = DeviceSpec(
            id="phone",
            platform="android",
            form_factor="phone",
            recipient={
                "transportType": "ablyChannel",
                "channel": "told",
                "ablyKey": "",
                "ablyUrl": "",
            },
        )
        return (await b.push.register(b.default_app(), spec)).id

    assert blocking.call(register) == "phone"
    with pytest.raises(BadRequest):
        blocking.push({"notification": {"title": "t"}})
    blocking.push({"notification": {"title": "t"}}, device_id="phone")


def test_its_own_thread_does_not_wait_for_itself(blocking: Broker) -> None:
    async def within(_: broker.Broker) -> None:
        blocking.channel("c").publish("n")

    with pytest.raises(RuntimeError, match="wait for itself"):
        blocking.call(within)


def test_the_broker_s_own_failure_ends_it_and_is_told_by_close(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    b = broker.blocking.open(path)

    async def fail(opened: broker.Broker) -> None:
        opened.epoch.finish = None  # type: ignore[method-assign,assignment]

    b.call(fail)
    with pytest.raises(ExceptionGroup):
        b.close()
    assert "own work has failed" in caplog.text
    with pytest.raises(Unavailable):
        b.channel("c").publish("n")


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


FORGETS = """
import sys, broker.blocking
b = broker.blocking.open(sys.argv[1])
messages = b.channel("c").subscribe()
b.channel("c").publish("n")
"""


def test_a_script_that_forgets_to_close_ends(path: Path) -> None:
    assert python(FORGETS, str(path)).communicate(timeout=STUCK_S) == ("", "")
    with broker.blocking.open(path) as b:
        assert names(b) == ["n"]


INTERRUPTED = """
import os, signal, sys, trio, broker.blocking
async def interrupt(_):
    os.kill(os.getpid(), signal.SIGINT)
    try:
        await trio.sleep_forever()
    finally:
        print("cancelled", flush=True)
with broker.blocking.open(sys.argv[1]) as b, b.channel("c").subscribe() as messages:
    try:
        b.call(interrupt)
    except KeyboardInterrupt:
        b.channel("c").publish("after")
    try:
        print(messages.next().name, flush=True)
        next(messages)
    except KeyboardInterrupt:
        b.channel("c").publish("again")
    print(messages.next().name, flush=True)
    next(messages)
"""


def test_ctrl_c_ends_a_wait_and_nothing_else(path: Path) -> None:
    process = python(INTERRUPTED, str(path))
    assert process.stdout is not None
    assert process.stdout.readline() == "cancelled\n"
    for said in ("after\n", "again\n"):
        assert process.stdout.readline() == said
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=STUCK_S)
    assert process.returncode == -signal.SIGINT
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    with broker.blocking.open(path) as b:
        assert names(b) == ["after", "again"]


def test_a_call_that_is_interrupted_before_it_waits_is_cancelled(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = threading.Event()
    soon = TrioThread._soon

    def interrupted(self: TrioThread, function: Any, *arguments: Any) -> None:
        monkeypatch.undo()
        soon(self, function, *arguments)
        raise KeyboardInterrupt

    async def waits(_: broker.Broker) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    with broker.blocking.open(path) as b:
        monkeypatch.setattr(TrioThread, "_soon", interrupted)
        with pytest.raises(KeyboardInterrupt):
            b.call(waits)
        assert cancelled.wait(STUCK_S)


FORKS = """
import os, sys, broker, broker.blocking
b = broker.blocking.open(sys.argv[1])
if (child := os.fork()) == 0:
    try:
        b.channel("c").publish("n")
    except broker.Unavailable as error:
        print(error, flush=True)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
b.channel("c").publish("n")
b.close()
"""


def test_a_forked_process_is_refused_and_leaves_the_broker_alone(path: Path) -> None:
    said, errors = python(FORKS, str(path)).communicate(timeout=STUCK_S)
    assert (said, errors) == ("the broker was opened before this process was forked\n", "")


def test_a_publish_in_flight_is_told_when_the_broker_closes(path: Path) -> None:
    b = broker.blocking.open(path)
    begun = threading.Event()

    async def never(_: broker.Broker) -> None:
        begun.set()
        await trio.sleep_forever()

    with ThreadPoolExecutor() as pool:
        call = pool.submit(b.call, never)
        assert begun.wait(STUCK_S)
        b.close()
        with pytest.raises(Unavailable):
            call.result()
