"""Asks a running broker once a second, for as long as somebody looks.

A broker that goes away is said to be gone, and is asked again until it is back; one that does not
answer within ANSWER_S counts as gone. The first answer must come: whoever starts this beside no
broker is told so.
"""

import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import trio

from api.admin.session import open_running
from api.top import terminal
from api.top.figures import Answers
from api.top.picture import Shown, picture
from api.top.wishes import Wishes
from broker import BrokerError

EVERY_S = 1.0
ANSWER_S = 10.0
UNANSWERED = f"the broker did not answer within {ANSWER_S:.0f} s"


async def answers(data: Path, wishes: Wishes) -> AsyncGenerator[Answers, None]:
    """One at a time, a second apart. Raises BrokerError, TooSlowError when the broker is gone."""
    last: Answers | None = None
    async with open_running(data) as session:
        while True:
            next_at = trio.current_time() + EVERY_S
            contains = wishes.contains
            with trio.fail_after(ANSWER_S):
                answer = await session.call("top", contains=contains)
            before = ("", None) if last is None else (last.contains[0], last.now)
            last = Answers(answer, before[1], (contains, before[0]))
            yield last
            await trio.sleep_until(next_at)


async def dashboard(data: Path, wishes: Wishes) -> None:
    """Show the broker on the terminal until a key says to leave. Raises what the first answer
    raises."""
    first = await _first(data, wishes)
    with terminal.screen() as screen:
        await _Dashboard(data, wishes, screen, first).run()


async def _first(data: Path, wishes: Wishes) -> Answers:
    async with aclosing(answers(data, wishes)) as coming:
        return await anext(coming)


class _Dashboard:
    def __init__(self, data: Path, wishes: Wishes, screen: terminal.Screen, first: Answers) -> None:
        self._data = data
        self._wishes = wishes
        self._screen = screen
        self._shown = Shown(str(data), first, None)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            leave = nursery.cancel_scope.cancel
            self._draw()
            nursery.start_soon(self._ask)
            nursery.start_soon(self._hear_keys, leave)
            nursery.start_soon(self._hear_signals, leave)

    def _draw(self) -> None:
        self._screen.show(picture(self._shown, self._wishes, self._screen.size))

    async def _ask(self) -> None:
        while True:
            try:
                async with aclosing(answers(self._data, self._wishes)) as coming:
                    async for found in coming:
                        self._shown = self._shown._replace(answers=found, lost=None)
                        self._draw()
            except (BrokerError, trio.TooSlowError) as error:
                lost = UNANSWERED if isinstance(error, trio.TooSlowError) else error.message
                self._shown = self._shown._replace(lost=lost)
                self._draw()
            await trio.sleep(EVERY_S)

    async def _hear_keys(self, leave: Callable[[], None]) -> None:
        async for key in terminal.keys():
            if not self._wishes.press(key):
                break
            self._draw()
        leave()

    async def _hear_signals(self, leave: Callable[[], None]) -> None:
        ends = {signal.SIGTERM: leave, signal.SIGHUP: leave, signal.SIGWINCH: self._draw}
        with trio.open_signal_receiver(*ends) as signals:
            async for number in signals:
                ends[signal.Signals(number)]()
