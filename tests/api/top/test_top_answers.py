"""The operation `top`, and what two of its answers come to."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import broker
from api import serving
from api.admin import audit, operations, socket_file
from api.admin.audit import Actor
from api.metrics.catalogue import METRICS
from api.settings import ServerSettings
from api.top import watching
from api.top.figures import FIGURES, Answers, channels, figures
from api.top.wishes import Wishes
from broker import BadRequest, Broker, Unavailable

STUCK_S = 60  # only ever passes when a test hangs
STARTED = "process_start_time_seconds"


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[Broker]:
    async with broker.open(path) as b, trio.open_nursery() as nursery:
        server = await serving.serve_in(nursery, b, ServerSettings(port=0))
        yield b
        server.stop()


async def ask(b: Broker, **arguments: Any) -> Any:
    return json.loads(json.dumps(await operations.run(b, "top", arguments)))


async def handed_on(b: Broker) -> None:
    with trio.fail_after(STUCK_S):
        while b.epoch.hub.position < b.log.position:
            await trio.lowlevel.checkpoint()


async def test_channels_are_counted_from_the_first_question_on(tmp_path: Path) -> None:
    async with served(tmp_path) as b:
        app = b.default_app()
        await b.channel("orders").publish("before")
        await handed_on(b)
        first = await ask(b)
        assert (first["channels"], first["found"]) == ([], 0)
        async with b.channel("quiet").subscribe():
            await b.channel("orders").publish("counted")
            await handed_on(b)
            second = await ask(b)
        orders = {"app": app, "channel": "orders", "messages_in": 1, "messages_out": 0}
        quiet = {"app": app, "channel": "quiet", "messages_in": 0, "messages_out": 0}
        assert second["channels"] == [
            {**orders, "attachments": 0, "members": 0},
            {**quiet, "attachments": 1, "members": 0},
        ]
        assert [one["channel"] for one in (await ask(b, contains="ORD"))["channels"]] == ["orders"]
        cut = await ask(b, limit=1)
        assert (len(cut["channels"]), cut["found"]) == (1, 1)


async def test_its_metrics_are_those_of_the_catalogue(tmp_path: Path) -> None:
    async with served(tmp_path) as b:
        found = (await ask(b))["metrics"]
    bare = {name.partition("{")[0] for name in found}
    unlabelled = {m.name for m in METRICS if not m.labels and m.kind != "histogram"}
    assert unlabelled <= bare
    assert bare - {m.name for m in METRICS} == {
        name for name in bare if name.startswith("process_")
    }


async def test_every_figure_is_made_of_what_there_is(tmp_path: Path) -> None:
    class Recording(Answers):
        def level(self, name: str) -> float:
            asked.add(name)
            return super().level(name)

        def grown(self, name: str) -> float | None:
            asked.add(name)
            return super().grown(name)

    asked: set[str] = set()
    async with served(tmp_path) as b:
        first = await ask(b)
        await b.channel("c").publish("n")
        found = figures(Recording(await ask(b), first))
    assert asked <= {m.name for m in METRICS} | first["metrics"].keys()
    assert found.keys() == FIGURES.keys()
    assert [name for name, value in found.items() if value is None] == []


async def test_looking_is_not_written_down(tmp_path: Path) -> None:
    async with served(tmp_path) as b:
        await audit.run(b, Actor(0, "socket"), "top", {})
        assert (await b.audit.page(10, None)).items == []


@pytest.mark.parametrize("arguments", [{"limit": -1}, {"limit": 1001}, {"contains": "x" * 257}])
async def test_what_is_out_of_bounds(tmp_path: Path, arguments: dict[str, Any]) -> None:
    async with served(tmp_path) as b:
        with pytest.raises(BadRequest):
            await ask(b, **arguments)


async def test_a_broker_that_nobody_serves(tmp_path: Path) -> None:
    async with broker.open(tmp_path) as b:
        with pytest.raises(Unavailable):
            await ask(b)


async def test_one_that_does_not_answer_is_gone(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        async with stream:
            await trio.sleep_forever()

    with socket_file.listening(tmp_path) as listening:
        async with trio.open_nursery() as nursery:
            listener = trio.SocketListener(listening)
            nursery.start_soon(partial(trio.serve_listeners, silent, [listener]))
            async with aclosing(watching.answers(tmp_path, Wishes())) as coming:
                with pytest.raises(trio.TooSlowError):
                    await anext(coming)
            nursery.cancel_scope.cancel()
    assert trio.current_time() == watching.ANSWER_S


def answer(at: float, started: float = 0, found: int | None = None, **counts: Any) -> Any:
    listed = [
        {
            "app": "a",
            "channel": name,
            "messages_in": count,
            "messages_out": 2 * count,
            "attachments": 1,
            "members": 0,
        }
        for name, count in counts.items()
    ]
    metrics = {STARTED: started, "tidelog_commits_total": sum(counts.values())}
    found = len(listed) if found is None else found
    return {"at": at, "time": 1000 * at, "metrics": metrics, "channels": listed, "found": found}


def rates(now: Any, before: Any, *contains: str) -> list[tuple[float | None, float | None]]:
    found = channels(Answers(now, before, contains or ("", "")))
    return [(row.messages_in_per_second, row.messages_out_per_second) for row in found]


def test_a_rate_is_a_difference_by_the_time_of_the_broker() -> None:
    now, before = answer(12.0, c=50), answer(10.0, c=20)
    assert rates(now, before) == [(15, 30)]
    assert figures(Answers(now, before))["commitsPerSecond"] == 15


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (None, "it is the first"),
        (answer(10.0, c=70), "counting began anew"),
        (answer(10.0, started=1, c=20), "the broker started again"),
        (answer(13.0, c=20), "time went back"),
        (answer(10.0, found=2, d=1), "the one before did not have all"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_there_is_no_rate_where_there_is_nothing_to_compare(before: Any, why: str) -> None:
    assert rates(answer(12.0, c=50), before) == [(None, None)]


def test_a_channel_that_was_not_there_had_nothing() -> None:
    now, before = answer(12.0, c=50), answer(10.0)
    assert rates(now, before) == [(25, 50)]
    assert rates(now, before, "c", "") == [(25, 50)]
    assert rates(now, before, "", "x") == [(None, None)]
