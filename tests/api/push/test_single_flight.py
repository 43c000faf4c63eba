"""Work that many want at once: done once, for all, whatever comes of it."""

import trio
import trio.testing

from api.push.single_flight import SingleFlight


class Work:
    def __init__(self) -> None:
        self.begun = 0
        self.release = trio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.begun += 1
        await self.release.wait()
        if self.error:
            raise self.error
        return self.begun


async def _many(flight: SingleFlight[int], work: Work, count: int) -> list[object]:
    found: list[object] = []

    async def one() -> None:
        try:
            found.append(await flight())
        except ValueError as error:
            found.append(str(error))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked()
        work.release.set()
    return found


async def test_all_get_what_one_fetched() -> None:
    work = Work()
    assert await _many(SingleFlight(work), work, 10) == [1] * 10


async def test_all_get_the_failure_too() -> None:
    work = Work()
    work.error = ValueError("no")
    flight = SingleFlight(work)
    assert await _many(flight, work, 10) == ["no"] * 10
    assert work.begun == 1
    work.error = None
    assert await flight() == 2


async def test_who_is_cancelled_hands_over() -> None:
    work = Work()
    flight = SingleFlight(work)
    leading = trio.CancelScope()
    found: list[int] = []

    async def lead() -> None:
        with leading:
            await flight()

    async def follow() -> None:
        found.append(await flight())

    async with trio.open_nursery() as nursery:
        for start in (lead, follow):
            nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
        leading.cancel()
        await trio.testing.wait_all_tasks_blocked()
        work.release.set()
    assert (found, work.begun) == ([2], 2)
