"""The contract, part 4: trims, snapshots, redaction and rebuilds, also beside traffic."""

from pathlib import Path

import pytest
import trio

from storage import Cut, Log, Retention, Rows, Span, Stream
from storage.retention import Policy
from tests.storage.contract_base import (
    NOTES_OF_C,
    POSTS_OF_C,
    Contract,
    everything,
    numbered,
    post,
    rows,
    texts,
)
from tests.storage.contract_tail import tailed
from tests.storage.ledger import NOTES, POSTS, Post
from tests.storage.wall import Wall


def keep(retention: Retention, stream: Stream = POSTS_OF_C) -> Policy:
    """A policy for one stream; the others keep everything."""
    return lambda _, asked: retention if asked == stream else Retention()


async def identified(log: Log, *ids: str, kind: int = POSTS) -> list[int]:
    results = await log.submit_all([Post("c", f"of {i}", id=i, kind=kind) for i in ids], app="app")
    return [outcome.serials[0] for outcome in results]


class RetentionContract(Contract):
    async def test_trim_by_serial_sequence_and_total(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            serials = await post(log, *numbered(20))
            records = await everything(log)
            await log.trim([Cut(POSTS_OF_C, serial=serials[4])])
            assert await texts(log) == numbered(15, 5)
            await log.trim([Cut(POSTS_OF_C, sequence=10)])
            assert await texts(log) == numbered(10, 10)
            await log.trim([Cut(POSTS_OF_C, total=records[14].link.total)])
            assert await everything(log) == records[15:]
            await log.trim([Cut(POSTS_OF_C, serial=serials[4]), Cut(NOTES_OF_C, sequence=99)])
            assert await everything(log) == records[15:]

    async def test_sweep_by_count(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            await post(log, *numbered(30))
            assert await log.sweep(keep(Retention(records=12))) == 1
            assert await texts(log) == numbered(12, 18)
            assert await log.sweep(keep(Retention(records=12))) == 0
            assert await log.sweep(keep(Retention())) == 0
            assert await log.sweep(keep(Retention(records=0))) == 1
            assert await texts(log) == []

    async def test_sweep_by_age(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            for text in numbered(10):
                wall.step(10)
                await post(log, text)
            assert await log.sweep(keep(Retention(age_ms=1_000))) == 0
            assert await log.sweep(keep(Retention(age_ms=45))) == 1
            assert await texts(log) == numbered(5, 5)
            wall.step(1_000)
            assert await log.sweep(keep(Retention(age_ms=45))) == 1
            assert await texts(log) == []

    async def test_sweep_by_bytes(self, path: Path, wall: Wall) -> None:
        """What stays is the newest `size` bytes, and the whole record that they begin in."""
        async with self.open(path, wall) as log:
            await post(log, *["x" * (100 + 13 * n) for n in range(20)])
            records = await everything(log)
            total = records[-1].link.total
            for size in (4_000, 2_000, records[-1].link.total - records[-2].link.total, 0):
                await log.sweep(keep(Retention(size=size)))
                kept = await everything(log)
                assert kept == [r for r in records if r.link.total > total - size]

    async def test_sweep_visits_every_stream(self, path: Path, wall: Wall) -> None:
        def policy(all_: Rows, stream: Stream) -> Retention:
            assert all_.get("tallies", f"app/{stream.channel}".encode())
            return Retention(records=1 if int(stream.channel) % 2 else None)

        async with self.open(path, wall) as log:
            channels = [str(number) for number in range(1_100)]
            for text in ("old", "new"):
                await log.submit_all([Post(channel, text) for channel in channels], app="app")
            assert await log.sweep(policy) == 550
            for number in (0, 1, 499, 500, 501, 998, 1_099):
                found = await texts(log, Stream("app", str(number), POSTS))
                assert found == (["new"] if number % 2 else ["old", "new"])

    async def test_what_a_trim_drops_and_keeps(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            serials = await identified(log, "1", "2", "3")
            before = await rows(log)
            await log.trim([Cut(POSTS_OF_C, serial=serials[1])])
            after = await rows(log)
            assert after["tallies"] == before["tallies"]
            assert after["ids"] == {b"app/c/3": serials[2].to_bytes(8, "big")}
            kept, again = await log.submit_all(
                [Post("c", "", id="3"), Post("c", "", id="1")], app="app"
            )
            assert (kept.duplicate, again.duplicate) == (True, False)

    @pytest.mark.parametrize("reopen", [False, True])
    async def test_trim_everything_then_go_on(self, path: Path, wall: Wall, reopen: bool) -> None:
        async with self.open(path, wall) as log:
            serials = await identified(log, "1", "2", "3")
            last = (await everything(log))[-1]
            await log.trim([Cut(POSTS_OF_C, serial=serials[-1])])
            assert await texts(log) == []
            if not reopen:
                await post(log, "next")
        wall.step(-10_000)
        async with self.open(path, wall) as log:
            if reopen:
                assert log.position == serials[-1]
                await post(log, "next")
            (record,) = await everything(log)
        assert record.previous == last.link.hash
        assert record.link.sequence == 4
        assert record.link.total > last.link.total
        assert record.serial > last.serial

    async def test_trims_in_small_steps(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall, maintenance_records=7) as log:
            for channel in "abc":
                await post(log, *numbered(30), channel=channel)
            before = await rows(log)
            streams = [Stream("app", channel, POSTS) for channel in "abc"]
            await log.trim([Cut(stream, sequence=25) for stream in streams])
            for stream in streams:
                assert await texts(log, stream) == numbered(5, 25)
            assert await rows(log) == before

    async def test_rebuilt_rows_are_the_same(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            await identified(log, *numbered(50))
            await identified(log, *numbered(20, 50), kind=NOTES)
            await log.trim([Cut(POSTS_OF_C, sequence=30), Cut(NOTES_OF_C, sequence=5)])
            before = await rows(log)
            for _ in range(2):
                await log.rebuild()
                assert await rows(log) == before
            await identified(log, "after")
            before = await rows(log)
        async with self.open(path, wall) as log:
            assert await rows(log) == before

    async def test_redaction_takes_the_bodies_and_keeps_the_chain(
        self, path: Path, wall: Wall
    ) -> None:
        async with self.open(path, wall, maintenance_records=3) as log:
            serials = await identified(log, *"0123456789", kind=NOTES)
            before = await everything(log, NOTES_OF_C)
            secret = {f"of {n}" for n in "1348"}
            await log.redact(NOTES_OF_C, serials[6], lambda event: event["text"] in secret)
            after = await everything(log, NOTES_OF_C)
            assert after == [before[n] for n in (0, 2, 5, 6, 7, 8, 9)]
            assert [key[-1:] for key in (await rows(log))["ids"]] == [
                b"%d" % n for n in (0, 2, 5, 6, 7, 8, 9)
            ]
            again = await log.submit(Post("c", "", id="3", kind=NOTES), app="app")
            assert not again.duplicate

    async def test_pages_pass_over_what_was_redacted(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            serials = await identified(log, *"0123456789", kind=NOTES)
            await log.redact(NOTES_OF_C, serials[-1], lambda event: event["text"] != "of 5")
            for reverse in (False, True):
                page = await log.read(NOTES_OF_C, Span(reverse=reverse), limit=1)
                assert [r.serial for r in page.records] == [serials[5]]
                assert not page.more
            await log.redact(NOTES_OF_C, serials[-1], lambda _: True)
            assert await log.read(NOTES_OF_C, limit=10) == ([], False, serials[-1])

    @pytest.mark.parametrize("reverse", [False, True])
    async def test_a_page_over_redacted_records_is_bounded(
        self, path: Path, wall: Wall, reverse: bool
    ) -> None:
        """It may be empty and still say from where to go on; nothing is missed that way."""
        async with self.open(path, wall, read_records_max=10) as log:
            serials = await post(log, *numbered(40), kind=NOTES)
            await log.redact(NOTES_OF_C, serials[-1], lambda event: event["text"] != "text 20")
            page = await log.read(NOTES_OF_C, Span(reverse=reverse), limit=5)
            assert (page.records, page.more) == ([], True)
            assert page.last == (serials[-10] if reverse else serials[9])
            found = await everything(log, NOTES_OF_C, 5, reverse)
            assert [r.serial for r in found] == [serials[20]]

    async def test_redacted_then_trimmed_then_rebuilt(self, path: Path, wall: Wall) -> None:
        async with self.open(path, wall) as log:
            serials = await identified(log, *"0123456789", kind=NOTES)
            await log.redact(
                NOTES_OF_C, serials[-1], lambda event: event["text"] in ("of 2", "of 7")
            )
            await log.trim([Cut(NOTES_OF_C, serial=serials[4])])
            before = await rows(log)
            assert sorted(before["ids"]) == [b"app/c/%d" % n for n in (5, 6, 8, 9)]
            await log.rebuild()
            assert await rows(log) == before
            await identified(log, "next", kind=NOTES)
            assert [r.link.sequence for r in await everything(log, NOTES_OF_C)] == [6, 7, 9, 10, 11]

    async def test_a_redacted_body_is_in_no_tail(self, path: Path, wall: Wall) -> None:
        """Nor in the memory that tails are served from."""
        async with self.open(path, wall) as log:
            serials = await identified(log, *"0123", kind=NOTES)
            await log.redact(NOTES_OF_C, serials[-1], lambda event: event["text"] == "of 2")
            found = await tailed(log, 0, serials[-1])
            assert [r.serial for r in found] == serials
            assert [r.redacted for r in found] == [False, False, True, False]

    async def test_maintenance_beside_traffic(self, path: Path, wall: Wall) -> None:
        given: dict[str, list[int]] = {}

        async def publish(log: Log, channel: str) -> None:
            given[channel] = []
            for number in range(60):
                wall.step(1)
                command = Post(channel, f"{number}", id=f"{number}")
                given[channel] += (await log.submit(command, app=channel)).serials

        async def maintain(log: Log) -> None:
            for records in (40, 30, 20, 10):
                await log.rebuild()
                await log.sweep(lambda _, __, keep=records: Retention(records=keep))

        async with self.open(path, wall, maintenance_records=5, batch_commands_max=3) as log:
            async with trio.open_nursery() as nursery:
                for channel in "abcd":
                    nursery.start_soon(publish, log, channel)
                nursery.start_soon(maintain, log)
            await log.sweep(lambda _, __: Retention(records=10))
            live = await rows(log)
            for channel in "abcd":
                found = await everything(log, Stream("app", channel, POSTS))
                assert [r.serial for r in found] == given[channel][-10:]
                assert found[-1].link.sequence == 60
            assert len(live["ids"]) == 40
            await log.rebuild()
            assert await rows(log) == live
