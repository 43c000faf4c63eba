"""The commit queue: bounds, fairness, waking and closing, without a log around it."""

from threading import Event, Thread
from typing import Any

import pytest

from storage import LogClosed, LogFailed, LogSettings, QueueFull
from storage.queue import CommitQueue, Job

WAIT_S = 30  # only ever passes when a test fails


def job(name: str, app: str = "app", commands: int = 1, cost: int = 10) -> Job:
    return Job([name] * commands, app, cost, lambda _: None)


def queue_of(**settings: Any) -> CommitQueue:
    return CommitQueue(LogSettings(**settings))


def names(batch: list[Job]) -> list[str]:
    return [one.commands[0] for one in batch]


def test_in_order() -> None:
    queue = queue_of()
    for name in "abc":
        queue.put(job(name))
    assert len(queue) == 3
    assert names(queue.take(wait=True)) == ["a", "b", "c"]
    assert len(queue) == 0
    assert queue.take(wait=False) == []


def test_apps_take_turns() -> None:
    queue = queue_of(batch_commands_max=4)
    for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1"):
        queue.put(job(name, app=name[0]))
    assert names(queue.take(wait=False)) == ["a1", "b1", "c1", "a2"]
    queue.put(job("d1", app="d"))
    assert names(queue.take(wait=False)) == ["b2", "a3", "d1", "a4"]
    assert queue.take(wait=False) == []


def test_a_batch_is_bounded_in_commands() -> None:
    queue = queue_of(batch_commands_max=5)
    for name in "abcd":
        queue.put(job(name, commands=2))
    assert [names(queue.take(wait=False)) for _ in range(3)] == [["a", "b"], ["c", "d"], []]


def test_a_batch_is_bounded_in_bytes() -> None:
    queue = queue_of(batch_bytes_max=25)
    for name in "abc":
        queue.put(job(name))
    assert [names(queue.take(wait=False)) for _ in range(3)] == [["a", "b"], ["c"], []]


def test_a_job_beyond_the_bounds_goes_alone() -> None:
    queue = queue_of(batch_commands_max=5, batch_bytes_max=25)
    for name, commands, cost in (("a", 1, 1), ("large", 9, 1), ("b", 1, 1), ("heavy", 1, 99)):
        queue.put(job(name, commands=commands, cost=cost))
    batches = [names(queue.take(wait=False)) for _ in range(4)]
    assert batches == [["a"], ["large"], ["b"], ["heavy"]]


def test_full_in_commands() -> None:
    queue = queue_of(queue_commands_max=3)
    queue.put(job("a", commands=2))
    with pytest.raises(QueueFull, match="2 commands wait"):
        queue.put(job("b", commands=2))
    queue.put(job("c"))
    with pytest.raises(QueueFull):
        queue.put(job("d"))
    assert names(queue.take(wait=False)) == ["a", "c"]
    queue.put(job("e", commands=3))


def test_full_in_bytes() -> None:
    queue = queue_of(queue_bytes_max=25)
    queue.put(job("a", cost=20))
    with pytest.raises(QueueFull):
        queue.put(job("b", cost=6))
    queue.put(job("c", cost=5))
    queue.take(wait=False)
    queue.put(job("alone it may be larger", cost=99))
    with pytest.raises(QueueFull):
        queue.put(job("d", cost=0, commands=20_000))


def test_partly_taken_it_has_room_again() -> None:
    queue = queue_of(queue_commands_max=4, batch_commands_max=1)
    for _ in range(10):
        while len(queue) < 4:
            queue.put(job("x"))
        with pytest.raises(QueueFull):
            queue.put(job("y"))
        assert names(queue.take(wait=False)) == ["x"]
        assert len(queue) == 3


@pytest.mark.parametrize("how", ["put", "wake", "refuse"])
def test_a_waiting_take_returns(how: str) -> None:
    queue, taken = queue_of(), []
    returned = Event()

    def take() -> None:
        taken.extend(queue.take(wait=True))
        returned.set()

    thread = Thread(target=take, daemon=True)
    thread.start()
    match how:
        case "put":
            queue.put(job("a"))
        case "wake":
            queue.wake()
        case "refuse":
            queue.refuse(LogClosed("closed"))
    assert returned.wait(WAIT_S)
    assert names(taken) == (["a"] if how == "put" else [])


def test_a_wake_is_remembered_once() -> None:
    queue = queue_of()
    queue.wake()
    assert queue.take(wait=True) == []
    queue.put(job("a"))
    assert names(queue.take(wait=True)) == ["a"]


def test_refusing_still_hands_out_what_waits() -> None:
    queue = queue_of(batch_commands_max=1)
    queue.put(job("a"))
    queue.put(job("b"))
    queue.refuse(LogClosed("closed"))
    with pytest.raises(LogClosed):
        queue.put(job("c"))
    assert queue.closed
    assert [names(queue.take(wait=True)) for _ in range(3)] == [["a"], ["b"], []]


def test_a_failed_log_can_still_be_closed() -> None:
    queue = queue_of()
    queue.refuse(LogFailed("EIO"))
    assert not queue.closed
    queue.refuse(LogClosed("closed"))
    assert queue.closed
    assert queue.take(wait=True) == []
    with pytest.raises(LogFailed, match="EIO"):
        queue.put(job("a"))


def test_many_threads_lose_nothing() -> None:
    queue = queue_of(batch_commands_max=7)
    per_thread, apps = 500, "abcd"

    def put(app: str) -> None:
        for number in range(per_thread):
            queue.put(job(f"{app}{number}", app=app))

    threads = [Thread(target=put, args=[app]) for app in apps]
    for thread in threads:
        thread.start()
    taken: list[str] = []
    while len(taken) < per_thread * len(apps):
        taken += names(queue.take(wait=True))
    for thread in threads:
        thread.join()
    for app in apps:
        mine = [name for name in taken if name[0] == app]
        assert mine == [f"{app}{number}" for number in range(per_thread)]
    assert len(queue) == 0
