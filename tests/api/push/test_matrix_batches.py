"""Batches to gematik's gateways: what goes together, and that no one costs others theirs."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from api.push.matrix import BATCH_BYTES_MAX, BATCH_ITEMS_MAX
from api.push.transports import Transports
from broker.push.transport import SENT, Result, Verdict
from tests.api.push.http_gateway import Act, Answer, json_reply
from tests.api.push.matrix_gateway import results
from tests.api.push.pushers import at_base, encrypted, plain, send
from tests.api.push.rig import HELLO, Matrix

COUNT = 30
STUCK_S = 20


def id_of(number: int) -> str:
    return f"{number:032x}"


async def together(
    matrix: Matrix,
    transports: Transports,
    recipients: Sequence[dict[str, Any]],
    payload: dict[str, Any] | None = None,
) -> list[Result]:
    """One is on its way while the others come, in their order."""
    found: dict[int, Result] = {}
    matrix.fake.held, matrix.gateway.arrived = trio.Event(), trio.Event()

    async def one(number: int) -> None:
        found[number] = await send(transports, recipients[number], payload, id=id_of(number))

    with trio.fail_after(STUCK_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, 0)
            await matrix.gateway.arrived.wait()
            for number in range(1, len(recipients)):
                nursery.start_soon(one, number)
                await wait_all_tasks_blocked()
            matrix.fake.held.set()
    return [found[number] for number in range(len(recipients))]


def pushers(matrix: Matrix, count: int = COUNT) -> list[dict[str, Any]]:
    return [encrypted(matrix, pushkey=f"key-{number}") for number in range(count)]


async def test_what_waits_goes_in_one_request(
    matrix: Matrix, matrix_transports: Transports
) -> None:
    found = await together(matrix, matrix_transports, pushers(matrix))
    assert [result.verdict for result in found] == [Verdict.SENT] * COUNT
    first, others = matrix.fake.batches
    assert (first, others) == ([id_of(0)], [id_of(number) for number in range(1, COUNT)])
    assert [one["device"]["pushkey"] for one in matrix.fake.delivered] == [
        f"key-{number}" for number in range(COUNT)
    ]
    assert len(matrix.fake.texts) == COUNT


async def test_no_batch_is_larger_than_a_gateway_takes(
    matrix: Matrix, matrix_transports: Transports
) -> None:
    await together(matrix, matrix_transports, pushers(matrix, 2 * BATCH_ITEMS_MAX))
    assert [len(batch) for batch in matrix.fake.batches] == [1, BATCH_ITEMS_MAX, 99]
    matrix.fake.batches.clear()
    matrix.gateway.requests.clear()
    wide = [encrypted(matrix, data={"x": "x" * 40_000}) for _ in range(8)]
    found = await together(matrix, matrix_transports, wide)
    assert {result.verdict for result in found} == {Verdict.SENT}
    sizes = [len(request.body) for request in matrix.gateway.requests]
    assert max(sizes) <= BATCH_BYTES_MAX + len('{"notifications":[]}')
    assert [len(batch) for batch in matrix.fake.batches] == [1, 6, 1]


async def test_what_is_larger_than_a_notification_may_be_is_not_sent(
    matrix: Matrix, matrix_transports: Transports
) -> None:
    for way in (plain, at_base, encrypted):
        result = await send(matrix_transports, way(matrix, data={"x": "x" * 64_000}))
        assert result.verdict is Verdict.REJECTED
    assert matrix.gateway.requests == []


async def test_each_url_has_its_own(matrix: Matrix, matrix_transports: Transports) -> None:
    """And plain notifications their own path, at the same base."""
    some = pushers(matrix, 8)
    some[4:] = [at_base(matrix, pushkey=f"key-{number}") for number in range(4, 8)]
    await together(matrix, matrix_transports, some)
    assert sorted(map(len, matrix.fake.batches)) == [1, 1, 3, 3]
    assert len(matrix.fake.delivered) == 8


async def test_each_is_told_what_became_of_it(
    matrix: Matrix, matrix_transports: Transports
) -> None:
    matrix.fake.rejected = {"key-2", "key-5"}
    matrix.fake.verdicts = {id_of(3): {"status": "failed", "error": "x"}}
    matrix.fake.earlier = ["key-7"]
    found = await together(matrix, matrix_transports, pushers(matrix, 9))
    verdicts = {number: result.verdict for number, result in enumerate(found)}
    assert {n: v for n, v in verdicts.items() if v is not Verdict.SENT} == {
        2: Verdict.DEAD,
        3: Verdict.TRANSIENT,
        5: Verdict.DEAD,
        7: Verdict.DEAD,  # it is one that was asked about: its own result says so too
    }


async def test_what_one_spoils_the_others_get(
    matrix: Matrix, matrix_transports: Transports
) -> None:
    """A gateway refuses a whole batch for one item; users choose what is in theirs."""
    spoiled = random.Random(3).sample(range(1, COUNT), 3)
    matrix.fake.poison = {id_of(number) for number in spoiled}
    found = await together(matrix, matrix_transports, pushers(matrix))
    rejected = [number for number, result in enumerate(found) if result.verdict is Verdict.REJECTED]
    assert rejected == sorted(spoiled)
    assert [r.verdict for r in found].count(Verdict.SENT) == COUNT - 3
    assert len(matrix.fake.delivered) == COUNT - 3, "each once"
    assert len(matrix.gateway.requests) < COUNT


async def test_a_gateway_that_takes_less_at_a_time(
    matrix: Matrix, matrix_transports: Transports
) -> None:
    matrix.fake.too_large = 10_000
    found = await together(matrix, matrix_transports, pushers(matrix))
    assert {result.verdict for result in found} == {Verdict.SENT}
    assert len(matrix.fake.delivered) == COUNT


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (json_reply(503, {}), Verdict.TRANSIENT),
        (json_reply(401, {}), Verdict.MISCONFIGURED),
        (Act.HANG_UP, Verdict.TRANSIENT),
        (json_reply(200, {"rejected": []}), Verdict.TRANSIENT),
    ],
)
async def test_a_request_that_fails_is_one_failure(
    matrix: Matrix, matrix_transports: Transports, answer: Answer, verdict: Verdict
) -> None:
    """Or a single hiccup would close the circuit for all who were in it."""
    matrix.fake.script.then(results({"id": id_of(0), "status": "success"}), answer)
    first, *others = await together(matrix, matrix_transports, pushers(matrix))
    assert first == SENT
    assert {result.verdict for result in others} == {verdict}
    assert [result.is_silent for result in others].count(False) == 1


async def test_a_gateway_that_says_nothing_holds_no_other(
    matrix: Matrix, matrix_transports: Transports
) -> None:
    """What waits behind a request that never ends is not behind one to another URL."""
    matrix.fake.script.then(Act.STALL)
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(_forever, matrix_transports, encrypted(matrix), id_of(number))
        await matrix.gateway.arrived.wait()
        with trio.fail_after(STUCK_S):
            assert await send(matrix_transports, plain(matrix)) == SENT
        nursery.cancel_scope.cancel()
    with trio.fail_after(STUCK_S):
        assert await send(matrix_transports, encrypted(matrix)) == SENT, "nothing is left waiting"


async def _forever(transports: Transports, recipient: dict[str, Any], id_: str) -> None:
    await send(transports, recipient, id=id_)


async def test_batches_of_random_weather_deliver_each_to_its_phone(
    matrix: Matrix, matrix_transports: Transports
) -> None:
    """Texts of their own, rejected keys and spoiled items among them, in waves."""
    choices = random.Random(11)
    matrix.fake.poison = {id_of(n) for n in range(60) if choices.random() < 0.1}
    sent: dict[str, Result] = {}

    async def one(number: int) -> None:
        payload = {**HELLO, "data": {"for": id_of(number)}}
        to = encrypted(matrix, pushkey=f"key-{number}")
        sent[id_of(number)] = await send(matrix_transports, to, payload, id=id_of(number))

    for wave in range(3):
        async with trio.open_nursery() as nursery:
            for number in range(20 * wave, 20 * wave + 20):
                nursery.start_soon(one, number)
    delivered = {text["data"]["for"] for text in matrix.fake.texts}
    assert delivered == {id_ for id_, result in sent.items() if result.verdict is Verdict.SENT}
    assert sent.keys() - delivered == matrix.fake.poison
    assert len(matrix.fake.texts) == len(delivered)
    for one_text, notification in zip(matrix.fake.texts, matrix.fake.delivered, strict=True):
        number = int(one_text["data"]["for"], 16)
        assert notification["device"]["pushkey"] == f"key-{number}"
