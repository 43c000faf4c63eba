"""The contract, part 1: what is appended can be read, in order, and outcomes are independent."""

from pathlib import Path

import pytest

from storage import ClockBehind, Log, Span, Stream
from storage.serial import SERIAL_MAX, first_at, last_at, ms_of, unpack
from tests.storage.contract_base import (
    NOTES_OF_C,
    POSTS_OF_C,
    Contract,
    everything,
    history,
    numbered,
    post,
    rows,
    texts,
)
from tests.storage.ledger import NOTES, POSTS, Post, Refused
from tests.storage.wall import Wall


class AppendContract(Contract):
    async def test_a_post_is_read_back(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            outcome = await log.submit(Post("c", "hello", id="1"), app="app")
            (record,) = (await log.read(POSTS_OF_C, limit=10)).records
        assert outcome.serials == (record.serial,)
        assert not outcome.duplicate
        assert outcome.reply == ms_of(record.serial) == wall.ms
        assert record.stream == POSTS_OF_C
        assert record.event == {"text": "hello", "id": "1"}
        assert record.link.sequence == 1

    @pytest.mark.parametrize("limit", [1, 7, 50, 51])
    @pytest.mark.parametrize("reverse", [False, True])
    async def test_pages_follow_each_other_both_ways(
        self, path: Path, wall: Wall, limit: int, reverse: bool
    ) -> None:
        async with self.open(path, wall) as log:
            serials = await post(log, *numbered(50))
            found = await everything(log, limit=limit, reverse=reverse)
        assert [r.serial for r in found] == (serials[::-1] if reverse else serials)

    async def test_a_page_says_whether_more_follow(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            serials = await post(log, *numbered(10))
            for reverse in (False, True):
                assert (await log.read(POSTS_OF_C, Span(reverse=reverse), limit=9)).more
                assert not (await log.read(POSTS_OF_C, Span(reverse=reverse), limit=10)).more
            within = Span(serials[2], serials[4])
            assert not (await log.read(POSTS_OF_C, within, limit=3)).more
            assert (await log.read(POSTS_OF_C, within, limit=2)).more

    async def test_a_span_includes_both_ends(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            serials = await post(log, *numbered(10))
            for reverse in (False, True):
                span = Span(serials[3], serials[6], reverse)
                found = (await log.read(POSTS_OF_C, span, limit=100)).records
                assert sorted(r.serial for r in found) == serials[3:7]
                for empty in (
                    Span(serials[6], serials[3], reverse),
                    Span(serials[9] + 1, SERIAL_MAX),
                ):
                    assert (await log.read(POSTS_OF_C, empty, limit=100)).records == []

    async def test_a_time_range_is_a_span(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            at: dict[int, list[int]] = {}
            for _ in range(5):
                wall.step(10)
                at[wall.ms] = await post(log, *numbered(3))
            second, fourth = sorted(at)[1], sorted(at)[3]
            span = Span(first_at(second), last_at(fourth))
            found = (await log.read(POSTS_OF_C, span, limit=100)).records
        assert [r.serial for r in found] == [s for ms in sorted(at)[1:4] for s in at[ms]]

    @pytest.mark.parametrize("reverse", [False, True])
    async def test_pages_are_bounded_in_bytes(self, path: Path, wall: Wall, reverse: bool) -> None:
        async with self.open(path, wall, read_bytes_max=5_000) as log:
            serials = await post(log, *["x" * 1_000] * 20, "y" * 20_000, "z")
            page = await log.read(POSTS_OF_C, Span(reverse=reverse), limit=1_000)
            assert 1 <= len(page.records) < 20
            assert page.more
            found = await everything(log, reverse=reverse)
        assert sorted(r.serial for r in found) == serials

    async def test_pages_are_bounded_in_records(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall, read_records_max=10) as log:
            await post(log, *numbered(25))
            page = await log.read(POSTS_OF_C, limit=1_000)
            assert (len(page.records), page.more) == (10, True)
            assert await texts(log) == numbered(25)

    async def test_an_unknown_stream_is_empty(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            await post(log, "here")
            for stream in (Stream("app", "other", POSTS), Stream("b", "c", POSTS), NOTES_OF_C):
                assert await log.read(stream, limit=10) == ([], False, 0)

    async def test_one_order_over_kinds_and_channels(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            given: list[int] = []
            for round_ in range(20):
                wall.step(round_ % 3)
                for channel in "abc":
                    for kind in (POSTS, NOTES):
                        given += await post(log, "x", channel=channel, kind=kind)
            assert given == sorted(set(given))
            assert log.position == given[-1]
            streams = [Stream("app", c, k) for c in "abc" for k in (POSTS, NOTES)]
            found = await history(log, *streams)
        assert sorted(r.serial for records in found.values() for r in records) == given
        for records in found.values():
            assert [r.link.sequence for r in records] == list(range(1, 21))

    @pytest.mark.parametrize("count", [2, 1_000, 1_001, 2_500])
    async def test_a_command_of_many_events(self, path: Path, wall: Wall, count: int) -> None:
        async with self.open(path, wall) as log:
            before, large, after = await log.submit_all(
                [Post("c", "a"), Post("c", "b", count=count), Post("c", "c")], app="app"
            )
            found = await everything(log)
        serials = [*before.serials, *large.serials, *after.serials]
        assert serials == sorted(set(serials))
        assert [r.serial for r in found] == serials
        assert all(max(unpack(serial)[1:]) <= 999 for serial in serials)

    async def test_outcomes_are_independent(self, path: Path, wall: Wall) -> None:
        commands = [
            Post("c", "one", id="1"),
            Post("c", "no", refuse=True),
            Post("c", "two"),
            Post("c", "", id="3", break_fold=True, count=3),
            Post("c", "one again", id="1"),
            object(),
            Post("c", "long", id="i" * 600),
            Post("c", "three", id="3"),
        ]
        async with self.open(path, wall) as log:
            results = await log.submit_all(commands, app="app")
            kinds = [type(result).__name__ for result in results]
            assert kinds == [
                *("Outcome", "Refused", "Outcome", "RuntimeError"),
                *("Outcome", "KeyError", "ValueError", "Outcome"),
            ]
            assert results[4].duplicate
            assert results[4].serials == results[0].serials
            assert not results[7].duplicate
            assert await texts(log) == ["one", "two", "three"]
            found = await everything(log)
            assert [r.link.sequence for r in found] == [1, 2, 3]

    async def test_a_refusal_is_raised_and_changes_nothing(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            await post(log, "one")
            before = await rows(log), log.position
            with pytest.raises(Refused, match="because"):
                await log.submit(Post("c", "because", refuse=True), app="app")
            with pytest.raises(RuntimeError, match="a fold with a bug"):
                await log.submit(Post("c", "", id="7", break_fold=True), app="app")
            assert (await rows(log), log.position) == before

    async def test_nothing_submitted_is_nothing_done(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            assert await log.submit_all([], app="app") == []
            assert log.position == 0

    async def test_a_duplicate_gets_the_first_serials(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            first, same_batch = await log.submit_all(
                [Post("c", "a", id="1"), Post("c", "b", id="1")], app="app"
            )
            await post(log, *numbered(20))
            later = await log.submit(Post("c", "c", id="1"), app="app")
            await log.rebuild()
            rebuilt = await log.submit(Post("c", "d", id="1"), app="app")
        async with self.open(path, wall) as log:
            reopened = await log.submit(Post("c", "e", id="1"), app="app")
            assert (await texts(log)).count("a") == 1
            assert len(await texts(log)) == 21
        for again in (same_batch, later, rebuilt, reopened):
            assert (again.serials, again.duplicate) == (first.serials, True)

    async def test_ids_of_channels_and_apps_are_apart(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            posts = [Post("c", "", id="1"), Post("d", "", id="1"), Post("c", "", id="1", app="b")]
            assert not any(o.duplicate for o in await log.submit_all(posts, app="app"))

    async def test_reopened_it_is_the_same(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            await log.submit_all([Post("c", t, id=t) for t in numbered(30)], app="app")
            await post(log, "note", kind=NOTES)
            before = await self._state(log)
        for _ in range(2):
            async with self.open(path, wall) as log:
                assert await self._state(log) == before

    async def _state(self, log: Log) -> tuple[object, ...]:
        return log.position, await rows(log), await history(log, POSTS_OF_C, NOTES_OF_C)

    async def test_serials_grow_when_the_clock_steps_back(self, path: Path, wall: Wall) -> None:
        given: list[int] = []
        for step in (0, -5_000, 3_000, -10_000, 50_000):
            wall.step(step)
            async with self.open(path, wall) as log:
                given += await post(log, *numbered(3))
                wall.step(-100)
                given += await post(log, *numbered(3))
        assert given == sorted(set(given))

    async def test_a_clock_too_far_behind_stops_writes(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall, serial_lead_ms_max=1_000) as log:
            await post(log, "before")
            wall.step(-2_000)
            with pytest.raises(ClockBehind):
                await log.submit(Post("c", "no"), app="app")
            assert await texts(log) == ["before"]
            wall.step(1_500)
            await post(log, "after")
            assert await texts(log) == ["before", "after"]

    @pytest.mark.parametrize("reverse", [False, True])
    async def test_a_range_of_rows_both_ways(self, path: Path, wall: Wall, reverse: bool) -> None:
        """Its first key belongs to it, its last does not."""
        async with self.open(path, wall) as log:
            await log.submit_all([Post("c", "", id=text) for text in "3142"], app="app")
            bounds = (b"app/c/2", b"app/c/4")
            found = await log.query(lambda all_: list(all_.between("ids", *bounds, reverse)))
            assert [key[-1:] for key, _ in found] == ([b"3", b"2"] if reverse else [b"2", b"3"])

    async def test_view_and_query_see_the_same(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            outcome = await log.submit(Post("c", "x", id="1"), app="app")
            with log.view() as view:
                seen = view.get("ids", b"app/c/1")
                assert [key for key, _ in view.scan("ids", b"app/")] == [b"app/c/1"]
            assert seen == outcome.serials[0].to_bytes(8, "big")
            assert await log.query(lambda all_: all_.get("ids", b"app/c/1")) == seen
