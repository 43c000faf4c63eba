"""The contract, part 2: cancellation, bounds, fairness, and what a closed log says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from storage import Log, LogClosed, QueueFull
from tests.storage.contract_base import (
    POSTS_OF_C,
    Contract,
    numbered,
    post,
    texts,
    until_queued,
    until_taken,
)
from tests.storage.ledger import Post
from tests.storage.wall import Wall


def _ignore(_: Any) -> None:
    pass


class QueueContract(Contract):
    async def test_a_cancelled_submit_leaves_the_log_whole(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            async with self.hold(log), trio.open_nursery() as nursery:
                nursery.start_soon(post, log, "cancelled")
                await until_queued(log, 1)
                nursery.cancel_scope.cancel()
            await post(log, "after")
            # It was accepted before it was cancelled, so it is there: once.
            assert await texts(log) == ["cancelled", "after"]

    async def test_cancelling_some_of_many(self, path: Path, wall: Wall) -> None:
        outcomes: dict[str, list[int]] = {}

        async def one(scope: trio.CancelScope, text: str) -> None:
            with scope:
                outcomes[text] = await post(log, text)

        async with self.open(path, wall) as log, trio.open_nursery() as nursery:
            scopes = [trio.CancelScope() for _ in range(40)]
            async with self.hold(log):
                for number, scope in enumerate(scopes):
                    nursery.start_soon(one, scope, f"text {number}")
                await until_queued(log, 40)
                for scope in scopes[::2]:
                    scope.cancel()
            await post(log, "last")
            assert sorted(await texts(log)) == sorted([*numbered(40), "last"])
        assert sorted(outcomes) == sorted(f"text {n}" for n in range(1, 40, 2))

    async def test_submitting_when_cancelled_already_does_nothing(
        self, path: Path, wall: Wall
    ) -> None:
        async with self.open(path, wall) as log:
            with trio.CancelScope() as scope:
                scope.cancel()
                await post(log, "never")
            assert scope.cancelled_caught
            await post(log, "after")
            assert await texts(log) == ["after"]

    async def test_a_full_queue_refuses(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall, queue_commands_max=5) as log:
            async with self.hold(log):
                for number in range(5):
                    log.enqueue([Post("c", f"text {number}")], _ignore, app="app")
                for refused in ([Post("c", "no")], [Post("c", "nor")] * 3):
                    with pytest.raises(QueueFull):
                        log.enqueue(refused, _ignore, app="app")
                with pytest.raises(QueueFull):
                    await log.submit(Post("c", "neither"), app="other")
                assert log.queued == 5
            await until_taken(log)
            await post(log, "after")
            assert await texts(log) == [*numbered(5), "after"]

    async def test_a_queue_full_of_bytes_refuses(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall, queue_bytes_max=1_000) as log:
            async with self.hold(log):
                log.enqueue([Post("c", "a")], _ignore, app="app", cost=600)
                with pytest.raises(QueueFull):
                    log.enqueue([Post("c", "no")], _ignore, app="app", cost=600)
                log.enqueue([Post("c", "b")], _ignore, app="app", cost=400)
            await until_taken(log)
            await post(log, "after")
            assert await texts(log) == ["a", "b", "after"]

    async def test_a_command_beyond_the_bounds_passes_alone(self, path: Path, wall: Wall) -> None:
        bounds = {"queue_commands_max": 2, "queue_bytes_max": 10, "batch_commands_max": 2}
        async with self.open(path, wall, **bounds) as log:
            await log.submit_all([Post("c", t) for t in numbered(9)], app="app", cost=5_000)
            assert await texts(log) == numbered(9)

    async def test_a_flood_delays_only_itself(self, path: Path, wall: Wall) -> None:
        order: list[str] = []

        def done(app: str) -> Callable[[Any], None]:
            return lambda _: order.append(app)

        async with self.open(path, wall, batch_commands_max=10) as log:
            async with self.hold(log):
                for number in range(100):
                    log.enqueue([Post("c", f"{number}")], done("flood"), app="flood")
                log.enqueue([Post("c", "small")], done("small"), app="small")
            await post(log, "after")
        assert order.index("small") < 10
        assert order.count("flood") == 100

    async def test_the_jobs_of_an_app_keep_their_order(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall, batch_commands_max=7) as log:
            async with self.hold(log):
                for number in range(50):
                    for app in "abc":
                        log.enqueue([Post(app, f"text {number}")], _ignore, app=app)
            await log.submit(Post("a", "text 50"), app="a")
            for app in "abc":
                assert (await texts(log, POSTS_OF_C._replace(channel=app)))[:50] == numbered(50)

    async def test_an_answer_means_tails_have_it(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            for number in range(20):
                (serial,) = await post(log, f"{number}")
                assert log.position >= serial

    async def test_closing_commits_what_was_accepted(self, path: Path, wall: Wall) -> None:
        answers: list[Any] = []
        async with self.open(path, wall) as log:
            for text in numbered(30):
                log.enqueue([Post("c", text)], answers.extend, app="app")
            await log.aclose()
            assert [answer.duplicate for answer in answers] == [False] * 30
        async with self.open(path, wall) as log:
            assert await texts(log) == numbered(30)

    async def test_a_closed_log_says_so(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            await post(log, "one")
        for use in (
            self._submit,
            self._enqueue,
            self._read,
            self._query,
            self._view,
            self._maintain,
        ):
            with pytest.raises(LogClosed):
                await use(log)
        assert [records async for records in log.tail(0)] == []

    async def _submit(self, log: Log) -> None:
        await log.submit(Post("c", "x"), app="app")

    async def _enqueue(self, log: Log) -> None:
        log.enqueue([Post("c", "x")], _ignore, app="app")

    async def _read(self, log: Log) -> None:
        await log.read(POSTS_OF_C, limit=1)

    async def _query(self, log: Log) -> None:
        await log.query(lambda all_: all_.get("ids", b"1"))

    async def _view(self, log: Log) -> None:
        with log.view():
            pass

    async def _maintain(self, log: Log) -> None:
        await log.rebuild()
