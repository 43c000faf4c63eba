"""The writer outlives bugs, of the domain and its own, and what it remembers is bounded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest
import trio

from storage import LogFailed, Stream, open_log
from storage.chain import Heads
from storage.engine import Reader, Writer
from storage.record import NO_LINK
from storage.rows import RowCache
from storage.stage import AppendStage
from tests.storage.contract_base import numbered, post, texts
from tests.storage.ledger import Post, ledger
from tests.storage.wall import Wall

STUCK_S = 30  # only ever passes when a test fails


def failing_once(original: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    pending = [error]

    def call(*args: Any, **kwargs: Any) -> Any:
        if pending:
            raise pending.pop()
        return original(*args, **kwargs)

    return call


async def test_a_bug_in_a_commit_fails_its_batch_only(
    path: Path, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_log(path, ledger(), wall=wall) as log:
        await post(log, "before")
        write = failing_once(AppendStage.write, ZeroDivisionError("a bug"))
        monkeypatch.setattr(AppendStage, "write", write)
        with trio.fail_after(STUCK_S):
            for result in await log.submit_all([Post("c", "a"), Post("c", "b")], app="app"):
                assert isinstance(result, ZeroDivisionError)
            await log.submit_all([Post("c", "after", id="1"), Post("c", "")], app="app")
        assert await texts(log) == ["before", "after", ""]
        assert not log.failed


async def test_an_engine_error_is_no_refusal(
    path: Path, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An LMDB error within a decide is the transaction's, not the command's."""
    async with open_log(path, ledger(), wall=wall) as log:
        await post(log, "before")
        monkeypatch.setattr(Reader, "get", failing_once(Reader.get, lmdb.DiskError("EIO")))
        with trio.fail_after(STUCK_S):
            results = await log.submit_all([Post("c", "a", id="1"), Post("c", "b")], app="app")
        assert all(isinstance(result, LogFailed) for result in results)
        assert log.failed
        assert await texts(log) == ["before"]
        with pytest.raises(LogFailed):
            await post(log, "after")
        with trio.fail_after(STUCK_S), pytest.raises(LogFailed):
            async for _ in log.tail(log.position):
                pass
    async with open_log(path, ledger(), wall=wall) as log:
        assert await texts(log) == ["before"]


async def test_a_bug_in_maintenance_is_its_callers(path: Path, wall: Wall) -> None:
    def step(writer: Writer) -> bool:
        writer.put("meta", b"half done", b"")
        raise ZeroDivisionError("a bug")

    async with open_log(path, ledger(), wall=wall) as log:
        with trio.fail_after(STUCK_S):
            with pytest.raises(ZeroDivisionError):
                await log.maintain(step)
            await post(log, "after")
            await log.rebuild()
        with log.engine.read() as reader:
            assert reader.get("meta", b"half done") is None


async def test_closing_answers_maintenance_that_waits(path: Path, wall: Wall) -> None:
    """Each job is done or told that the log is closed; none is left waiting."""
    ended: list[str] = []

    async with open_log(path, ledger(), wall=wall) as log:
        await post(log, *numbered(10))

        async def rebuild() -> None:
            try:
                await log.rebuild()
            except Exception as error:
                ended.append(type(error).__name__)
            else:
                ended.append("done")

        with trio.fail_after(STUCK_S):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(rebuild)
                await trio.lowlevel.checkpoint()
                await log.aclose()
    assert len(ended) == 20
    assert set(ended) <= {"done", "LogClosed"}


@pytest.mark.parametrize("limit", [1, 2, 10])
@pytest.mark.parametrize("size", [1, 3, 50])
def test_memories_are_bounded(limit: int, size: int) -> None:
    """However many a commit adds, what is kept in the end is at most the limit, the newest."""
    heads, cache = Heads(limit), RowCache(limit)
    for round_ in range(20):
        names = [f"{round_}.{number}" for number in range(size)]
        heads.update({Stream("app", name, 1): NO_LINK for name in names})
        cache.update({name.encode(): b"" for name in names})
        assert len(heads._links) <= limit
        assert len(cache._rows) <= limit
