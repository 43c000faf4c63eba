"""Random histories against a model of plain dicts and lists.

A history is a few dozen steps: posts (batches, duplicates, refusals, broken folds, many events),
retries of a whole batch, trims, sweeps, redactions, clock steps, restarts, rebuilds. After it the
log must hold what the model holds, its projections too, live and rebuilt, and verify must find
nothing; an export of it, imported, must be the same log.

    TIDELOG_SEEDS=1000 pytest tests/storage/test_model.py      # more histories
    TIDELOG_SEED=17 TIDELOG_SEEDS=1 pytest …                   # this one again
"""

import os
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from storage import Cut, Log, LogSettings, Retention, Stream, open_log
from storage.serial import first_at
from storage.transfer import export_lines
from storage.verify import verify
from tests.storage.contract_base import everything, rows
from tests.storage.contract_tail import tailed
from tests.storage.ledger import NOTES, POSTS, Post, ledger
from tests.storage.model import Model
from tests.storage.wall import Wall

FIRST = int(os.environ.get("TIDELOG_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("TIDELOG_SEEDS", "40")))
STEPS = 60
STREAMS = [Stream(app, c, kind) for app in ("app", "b") for c in "cd" for kind in (POSTS, NOTES)]
WORDS = ["spring", "neap", "ebb", "flood", "slack"]
HISTORY_S = 120


class History:
    """One seed's steps, done to a log and told to a model."""

    def __init__(self, seed: int, path: Path) -> None:
        self.random = Random(seed)
        self.path = path
        self.wall = Wall()
        self.model = Model()
        self.batch: list[Post] = []
        self.done: list[str] = []
        self.settings = LogSettings(
            heads_max=self.random.choice([2, 100_000]),
            cached_rows_max=self.random.choice([1, 4, 50_000]),
            tail_records_max=self.random.choice([5, 20_000]),
            maintenance_records=self.random.choice([1, 4, 500]),
            read_records_max=self.random.choice([3, 1_000]),
            batch_commands_max=self.random.choice([1, 3, 1_000]),
        )
        self.stack = AsyncExitStack()
        self.log: Log

    async def open(self, path: Path | None = None) -> Log:
        opening = open_log(path or self.path, ledger(), wall=self.wall, settings=self.settings)
        return await self.stack.enter_async_context(opening)

    def a_post(self) -> Post:
        stream = self.random.choice(STREAMS)
        return Post(
            stream.channel,
            self.random.choice(WORDS),
            id=self.random.choice(["", *"123456789"]),
            count=self.random.choice([1, 1, 1, 2, 5]),
            refuse=self.random.random() < 0.1,
            break_fold=self.random.random() < 0.07,
            app=stream.app,
            kind=stream.kind,
        )

    async def submit(self, posts: list[Post]) -> None:
        self.batch = posts
        results = await self.log.submit_all(posts, app=self.random.choice(["app", "b"]))
        for post, result in zip(posts, results, strict=True):
            self.model.submitted(post, result)

    async def post(self) -> None:
        await self.submit([self.a_post() for _ in range(self.random.randint(1, 8))])

    async def post_apart(self) -> None:
        """From several tasks: whatever order the log chooses, the serials tell."""
        given: list[tuple[Post, Any]] = []

        async def one(post: Post) -> None:
            given.extend(zip([post], await self.log.submit_all([post], app=post.app), strict=True))

        async with trio.open_nursery() as nursery:
            for text in self.random.sample(WORDS, 4):
                stream = self.random.choice(STREAMS)
                nursery.start_soon(
                    one, Post(stream.channel, text, kind=stream.kind, app=stream.app)
                )
        for post, outcome in sorted(given, key=lambda pair: pair[1].serials):
            self.model.submitted(post, outcome)

    async def retry(self) -> None:
        await self.submit(self.batch)

    async def step_clock(self) -> None:
        self.wall.step(self.random.choice([1, 1, 5, 1_000, -1, -700]))

    async def trim(self) -> None:
        stream = self.random.choice(STREAMS)
        kept = self.model.streams.get(stream, [])
        if not kept:
            return
        last = self.random.choice(kept)
        by_sequence = self.random.random() < 0.5
        cut = Cut(stream, sequence=last.sequence) if by_sequence else Cut(stream, last.serial)
        await self.log.trim([cut])
        self.model.trimmed(stream, last.serial)

    async def sweep(self) -> None:
        stream, count = self.random.choice(STREAMS), self.random.randint(0, 6)
        await self.log.sweep(lambda _, asked: Retention(records=count if asked == stream else None))
        gone = self.model.streams.get(stream, [])[: -count or None]
        if gone:
            self.model.trimmed(stream, gone[-1].serial)

    async def sweep_old(self) -> None:
        age_ms = self.random.choice([1, 500, 2_000])
        now_ms = self.log.clock.read()  # the sweep reads the same: the wall stands still
        await self.log.sweep(lambda *_: Retention(age_ms=age_ms))
        for stream in STREAMS:
            self.model.trimmed(stream, first_at(now_ms - age_ms))

    async def redact(self) -> None:
        stream = self.random.choice([s for s in STREAMS if s.kind == NOTES])
        kept = self.model.streams.get(stream, [])
        if not kept:
            return
        last, word = self.random.choice(kept).serial, self.random.choice(WORDS)
        await self.log.redact(stream, last, lambda event: event["text"] == word)
        self.model.redacted(stream, last, word)

    async def rebuild(self) -> None:
        await self.log.rebuild()

    async def restart(self) -> None:
        await self.stack.aclose()
        self.log = await self.open()
        assert self.log.position == self.model.last

    async def look(self) -> None:
        """A glance in the middle of things."""
        await self.compare_stream(self.log, self.random.choice(STREAMS))

    async def compare_stream(self, log: Log, stream: Stream) -> None:
        expected = self.model.visible(stream)
        for reverse in (False, True):
            records = await everything(log, stream, self.random.choice([1, 3, 1_000]), reverse)
            found = [(r.serial, r.link.sequence, r.event["text"], r.event["id"]) for r in records]
            assert found == (expected[::-1] if reverse else expected)

    async def compare(self, log: Log) -> None:
        for stream in STREAMS:
            await self.compare_stream(log, stream)
        assert await rows(log) == self.model.rows()
        serials = self.model.all_serials()
        if serials:
            assert [r.serial for r in await tailed(log, 0, serials[-1])] == serials

    async def run(self) -> None:
        steps = {
            self.post: 12, self.post_apart: 3, self.retry: 3, self.step_clock: 6, self.trim: 4,
            self.sweep: 2, self.sweep_old: 1, self.redact: 3, self.rebuild: 2, self.restart: 2,
            self.look: 3,
        }  # fmt: skip
        self.log = await self.open()
        for step in self.random.choices(list(steps), list(steps.values()), k=STEPS):
            self.done.append(step.__name__)
            await step()
        await self.restart()
        await self.compare(self.log)
        await self.rebuild()
        await self.compare(self.log)
        await self.move()

    async def move(self) -> None:
        """Export, import into a new log: the same again."""
        lines = await self.log.in_thread(lambda reader: list(export_lines(reader)))
        await self.stack.aclose()
        other = self.path.with_name("imported")
        copy = await self.open(other)
        await copy.import_lines(lines)
        assert copy.position == self.model.last
        await self.compare(copy)
        await self.stack.aclose()
        for path in (self.path, other):
            assert verify(path, ledger(), LogSettings(), lambda *_: None) == []


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_random_history(seed: int, path: Path) -> None:
    history = History(seed, path)
    print(f"TIDELOG_SEED={seed} TIDELOG_SEEDS=1 pytest tests/storage/test_model.py")
    try:
        with trio.fail_after(HISTORY_S):
            await history.run()
    finally:
        print(" ".join(history.done))
        await history.stack.aclose()
