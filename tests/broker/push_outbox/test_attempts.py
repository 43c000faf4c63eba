"""One attempt: who is tried, when it is to be tried again, and what it says of the device."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from broker import randomness
from broker.push import key_chain
from broker.push.attempts import (
    ACTIVE,
    ATTEMPT_S_MAX,
    FAILED,
    FAILING,
    FAILURES_TO_FAIL,
    KEYS_RETRY_S,
    MISCONFIGURED_MS,
    RETRY_MS,
    RETRY_MS_MAX,
    Attempts,
    Standing,
    Tried,
    delivery_id,
    standing,
)
from broker.push.events import Device, Selector
from broker.push.lanes import AT_ONCE, FAILURES_TO_OPEN, OPEN_S_MIN, PATIENCE_S, Places
from broker.push.month_keys import Encryption
from broker.push.outbox_log import PublishRow
from broker.push.sealing import Sealer
from broker.push.transport import (
    NO_RECIPIENT,
    NOT_CONFIGURED,
    RETRIES_EXHAUSTED,
    SENT,
    TOKEN_INVALID,
    UNREACHABLE,
    MonthKey,
    Result,
    Verdict,
)
from storage.keyfile import NAME, KeyFile
from tests.broker.push_outbox.gateway import (
    PAYLOAD,
    TRANSPORT,
    Gateway,
    address,
    dead,
    misconfigured,
    rejected,
    trouble,
)

NOW_MS, LATER_MS = 1_000_000, 1_000_000_000
ROW = PublishRow("app", 7, Selector(recipient=address("a")), PAYLOAD, LATER_MS)
ALMOST_1 = 1 - 1 / (1 << 20)


@pytest.fixture
def sealer(tmp_path: Path) -> Iterator[Sealer]:
    keys = KeyFile(tmp_path)
    yield Sealer(keys)
    keys.close()


@pytest.fixture
def attempts(sealer: Sealer, gateway: Gateway) -> Attempts:
    attempts = Attempts(sealer)
    attempts.transports[TRANSPORT] = gateway
    return attempts


async def device(sealer: Sealer, **fields: Any) -> Device:
    await sealer.ensure("app", "d")
    recipient = sealer.seal("app", "d", address("a"))
    return Device(
        id="d",
        platform="android",
        form_factor="phone",
        transport=TRANSPORT,
        recipient=recipient,
        updated_ms=5,
        **fields,
    )


def jitter(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    monkeypatch.setattr(randomness, "jitter", lambda: value)


async def test_what_the_transport_is_given(
    attempts: Attempts, sealer: Sealer, gateway: Gateway
) -> None:
    tried = await attempts.to_device(ROW, await device(sealer), 0, NOW_MS)
    assert tried == Tried(SENT, None, 1)
    (outgoing,) = gateway.got
    assert outgoing.id == delivery_id(ROW, "d")
    assert (outgoing.app, outgoing.recipient, outgoing.payload) == ("app", address("a"), PAYLOAD)
    assert (outgoing.expires_ms, outgoing.updated_ms) == (LATER_MS, 5)


def test_an_id_is_the_deliverys() -> None:
    """It is stored nowhere, so it must come out the same in every process of every version."""
    others = [
        delivery_id(msgspec.structs.replace(ROW, serial=8), "d"),
        delivery_id(msgspec.structs.replace(ROW, app="b"), "d"),
        delivery_id(ROW, "e"),
        delivery_id(ROW, ""),
    ]
    assert delivery_id(ROW, "d") == "2d7e89f089fbb9be7fb129ba48b87626"
    assert len({delivery_id(ROW, "d"), *others}) == 5


@pytest.mark.parametrize("made", range(20))
async def test_each_wait_may_be_twice_as_long(
    attempts: Attempts, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, made: int
) -> None:
    """Full jitter: from nearly nothing up to 1 s, 2 s, 4 s and so on, and never past an hour."""
    gateway.says("a", trouble(), trouble())
    jitter(monkeypatch, 0)
    soonest = await attempts.to_address(ROW, made, NOW_MS)
    jitter(monkeypatch, ALMOST_1)
    latest = await attempts.to_address(ROW, made, NOW_MS)
    longest_ms = min(RETRY_MS * 2**made, RETRY_MS_MAX)
    assert soonest.again_ms == 1
    assert latest.again_ms is not None
    assert longest_ms * 0.999 <= latest.again_ms <= longest_ms
    assert soonest.made == latest.made == made + 1


def test_jitter_is_from_0_to_1_and_everywhere() -> None:
    drawn = [randomness.jitter() for _ in range(2_000)]
    assert all(0 <= one < 1 for one in drawn)
    assert {int(one * 10) for one in drawn} == set(range(10))


@pytest.mark.parametrize("made", [0, 15])
@pytest.mark.parametrize("asked_ms", [0, 900, 7_200_000])
async def test_it_is_not_before_the_provider_asked_for_it(
    attempts: Attempts, gateway: Gateway, made: int, asked_ms: int
) -> None:
    """Nor sooner than without: a provider that always asks for a second is not asked each second
    for a day."""
    gateway.says("a", trouble(asked_ms))
    again_ms = (await attempts.to_address(ROW, made, NOW_MS)).again_ms
    assert again_ms is not None
    assert asked_ms <= again_ms <= max(asked_ms, min(1_000 << made, 3_600_000))


async def test_what_the_operator_has_to_mend_waits_for_longer(
    attempts: Attempts, gateway: Gateway
) -> None:
    gateway.says("a", misconfigured())
    tried = await attempts.to_address(ROW, 0, NOW_MS)
    assert (tried.again_ms, tried.made) == (MISCONFIGURED_MS, 1)
    assert attempts.lanes.open_circuits == ["e"]


async def test_a_transport_that_is_not_there(attempts: Attempts, sealer: Sealer) -> None:
    attempts.transports.clear()
    tried = await attempts.to_device(ROW, await device(sealer), 0, NOW_MS)
    assert (tried.result.verdict, tried.result.code) == (Verdict.MISCONFIGURED, NOT_CONFIGURED)
    assert tried.again_ms == MISCONFIGURED_MS


@pytest.mark.parametrize("answer", [dead(), rejected()])
async def test_what_is_final_is_over(attempts: Attempts, gateway: Gateway, answer: Result) -> None:
    gateway.says("a", answer)
    assert await attempts.to_address(ROW, 3, NOW_MS) == Tried(answer, None, 4)
    assert attempts.lanes.lane("e").failures == 0  # the provider is well


@pytest.mark.parametrize("answer", [dead(), rejected()])
async def test_what_the_provider_was_not_asked_says_nothing_of_it(
    attempts: Attempts, gateway: Gateway, answer: Result
) -> None:
    """Or whoever names a bad address there would close its circuit each time."""
    unasked = msgspec.structs.replace(answer, is_silent=True)
    gateway.says("a", trouble(), unasked, trouble(), trouble(), unasked, trouble(), trouble())
    for _ in range(7):
        await attempts.to_address(ROW, 0, NOW_MS)
    assert attempts.lanes.open_circuits == ["e"]


async def test_nobody_is_sent_what_nobody_wants_any_more(
    attempts: Attempts, gateway: Gateway
) -> None:
    assert (await attempts.to_address(ROW, 2, LATER_MS - 1)).result is SENT
    tried = await attempts.to_address(ROW, 2, LATER_MS)
    assert (tried.result.code, tried.again_ms, tried.made) == (RETRIES_EXHAUSTED, None, 2)
    assert len(gateway.got) == 1


@pytest.mark.parametrize(("left_ms", "is_over"), [(5_001, False), (5_000, True), (1, True)])
async def test_it_is_given_up_if_it_would_be_too_late_next_time(
    attempts: Attempts, gateway: Gateway, left_ms: int, is_over: bool
) -> None:
    gateway.says("a", trouble(retry_after_ms=5_000))
    tried = await attempts.to_address(ROW, 0, LATER_MS - left_ms)
    assert (tried.again_ms is None) == is_over
    assert tried.result.code == (RETRIES_EXHAUSTED if is_over else UNREACHABLE)
    assert tried.made == 1


async def test_an_answer_that_does_not_come(
    attempts: Attempts, sealer: Sealer, gateway: Gateway, autojump_clock: MockClock
) -> None:

    gateway.says("a", trio.Event())
    began = trio.current_time()
    tried = await attempts.to_device(ROW, await device(sealer), 0, NOW_MS)
    assert trio.current_time() - began == pytest.approx(ATTEMPT_S_MAX)
    assert (tried.result.verdict, tried.result.code) == (Verdict.TRANSIENT, UNREACHABLE)
    assert tried.again_ms is not None


async def test_a_transport_that_raises_is_trouble_and_no_more(
    attempts: Attempts, gateway: Gateway
) -> None:
    gateway.says("a", ValueError("a bug"))
    tried = await attempts.to_address(ROW, 0, NOW_MS)
    assert tried.result.verdict is Verdict.TRANSIENT
    assert attempts.lanes.lane("e").failures == 1


async def test_a_transport_that_cannot_tell_the_endpoint_is_trouble_and_no_more(
    attempts: Attempts, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address is the user's: a bug in reading one must not end the deliveries of all."""

    def endpoint(outgoing: object) -> str:
        raise ValueError("a bug")

    monkeypatch.setattr(gateway, "endpoint", endpoint)
    tried = await attempts.to_address(ROW, 0, NOW_MS)
    assert tried.result.verdict is Verdict.TRANSIENT
    assert tried.again_ms is not None
    assert gateway.got == []


async def test_a_device_whose_address_is_dead_is_not_tried(
    attempts: Attempts, sealer: Sealer, gateway: Gateway
) -> None:
    tried = await attempts.to_device(ROW, await device(sealer, state=FAILED), 4, NOW_MS)
    assert (tried.result.code, tried.again_ms, tried.made) == (TOKEN_INVALID, None, 4)
    assert gateway.got == []


async def test_a_device_whose_key_is_gone_is_not_tried(
    attempts: Attempts, sealer: Sealer, gateway: Gateway
) -> None:
    known = await device(sealer)
    await sealer.destroy({"app:d"}, lambda _: set())
    tried = await attempts.to_device(ROW, known, 0, NOW_MS)
    assert (tried.result.code, tried.again_ms) == (NO_RECIPIENT, None)
    assert gateway.got == []


async def test_an_open_circuit_costs_nothing_and_counts_for_nothing(
    attempts: Attempts, sealer: Sealer, gateway: Gateway, mock_clock: MockClock
) -> None:
    """Devices are not to blame for each other's provider, and attempts that were none do not make
    the next wait longer."""
    gateway.says("a", *[trouble()] * FAILURES_TO_OPEN)
    for _ in range(FAILURES_TO_OPEN):
        await attempts.to_address(ROW, 0, NOW_MS)
    known = await device(sealer, failures=FAILURES_TO_FAIL - 1)
    tried = await attempts.to_device(ROW, known, 6, NOW_MS)
    assert len(gateway.got) == FAILURES_TO_OPEN
    assert tried.made == 6
    assert tried.again_ms is not None
    assert OPEN_S_MIN * 1_000 <= tried.again_ms <= (OPEN_S_MIN + 1) * 1_000
    assert standing(known, tried) == Standing(ACTIVE, FAILURES_TO_FAIL - 1, None)
    mock_clock.jump(OPEN_S_MIN)
    assert (await attempts.to_device(ROW, known, 6, NOW_MS)).result is SENT


async def test_of_a_request_for_many_one_tells_of_the_endpoint(
    attempts: Attempts, gateway: Gateway
) -> None:
    """To each it is trouble all the same."""
    shared = msgspec.structs.replace(trouble(), is_silent=True)
    gateway.says("a", *[shared] * 2 * FAILURES_TO_OPEN, trouble())
    for _ in range(2 * FAILURES_TO_OPEN):
        assert (await attempts.to_address(ROW, 0, NOW_MS)).is_trouble
    assert attempts.lanes.lane("e").failures == 0
    await attempts.to_address(ROW, 0, NOW_MS)
    assert attempts.lanes.lane("e").failures == 1


async def test_what_comes_to_nothing_without_an_attempt_is_not_the_devices_fault(
    attempts: Attempts, sealer: Sealer, gateway: Gateway
) -> None:
    known = await device(sealer, failures=FAILURES_TO_FAIL - 1)
    expired = await attempts.to_device(ROW, known, 0, LATER_MS)
    gateway.says("a", misconfigured())
    given_up = await attempts.to_device(ROW, known, 0, LATER_MS - MISCONFIGURED_MS)
    assert expired.result.code == given_up.result.code == RETRIES_EXHAUSTED
    for tried in (expired, given_up):
        assert standing(known, tried) == Standing(ACTIVE, FAILURES_TO_FAIL - 1, None)


async def test_the_last_of_many_attempts_counts_like_the_others(
    attempts: Attempts, sealer: Sealer, gateway: Gateway
) -> None:
    known = await device(sealer, failures=FAILURES_TO_FAIL - 1)
    gateway.says("a", trouble(retry_after_ms=5_000))
    given_up = await attempts.to_device(ROW, known, 0, LATER_MS - 1)
    assert given_up.result.code == RETRIES_EXHAUSTED
    assert standing(known, given_up).state == FAILING


ERROR = {"code": 103007, "message": "busy", "statusCode": 400}
DEAD_ERROR = {"code": 103005, "message": "unregistered", "statusCode": 400}


@pytest.mark.parametrize(
    ("before", "answer", "after"),
    [
        (Standing(ACTIVE, 0, None), SENT, Standing(ACTIVE, 0, None)),
        (Standing(FAILING, 3, ERROR), SENT, Standing(ACTIVE, 0, None)),
        (Standing(ACTIVE, 0, None), trouble(), Standing(ACTIVE, 1, None)),
        (Standing(ACTIVE, 1, None), trouble(), Standing(ACTIVE, 2, None)),
        (Standing(ACTIVE, 2, None), trouble(), Standing(FAILING, 3, ERROR)),
        (Standing(FAILING, 3, ERROR), trouble(), Standing(FAILING, 3, ERROR)),
        (Standing(ACTIVE, 1, None), dead(), Standing(FAILED, 2, DEAD_ERROR)),
        (Standing(FAILING, 3, ERROR), dead(), Standing(FAILED, 4, DEAD_ERROR)),
        (Standing(ACTIVE, 1, None), rejected(), Standing(ACTIVE, 1, None)),
        (Standing(FAILING, 3, ERROR), rejected(), Standing(FAILING, 3, ERROR)),
        (Standing(ACTIVE, 1, None), misconfigured(), Standing(ACTIVE, 1, None)),
        (Standing(FAILING, 3, ERROR), misconfigured(), Standing(FAILING, 3, ERROR)),
    ],
)
async def test_how_a_device_stands_after_an_attempt(
    attempts: Attempts,
    sealer: Sealer,
    gateway: Gateway,
    before: Standing,
    answer: Result,
    after: Standing,
) -> None:
    known = await device(sealer, **before._asdict())
    gateway.says("a", answer)
    tried = await attempts.to_device(ROW, known, 0, NOW_MS)
    assert standing(known, tried) == after


async def test_a_full_lane_is_no_attempt(
    attempts: Attempts, sealer: Sealer, gateway: Gateway, mock_clock: MockClock
) -> None:
    """Who found no place in a lane is not counted as a failure of anybody's."""

    done, found = trio.Event(), []
    gateway.always["a"] = done
    known = await device(sealer, failures=FAILURES_TO_FAIL - 1)

    async def late() -> None:
        found.append(await attempts.to_device(ROW, known, 0, NOW_MS))

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(attempts.to_address, ROW, 0, NOW_MS)
        await gateway.until(AT_ONCE)
        nursery.start_soon(late)
        await wait_all_tasks_blocked()
        mock_clock.jump(PATIENCE_S)
        await wait_all_tasks_blocked()
        (tried,) = found
        assert (tried.made, tried.again_ms is None) == (0, False)
        assert standing(known, tried).state == ACTIVE
        done.set()
    assert attempts.lanes.lane("e").failures == 0


ENCRYPTION = Encryption(b"i" * 32, "1970-01", "k")


async def encrypted(sealer: Sealer, named: str = "k") -> Device:
    made = await device(sealer)
    await sealer.months.begin("app", "d", ENCRYPTION, NOW_MS)
    recipient = {**address("a"), "encryption": {"keyIdentifier": named}}
    return msgspec.structs.replace(made, recipient=sealer.seal("app", "d", recipient))


async def test_a_device_with_encryption_comes_with_the_key_of_the_month(
    attempts: Attempts, sealer: Sealer, gateway: Gateway
) -> None:
    to = await encrypted(sealer)
    first = key_chain.first(ENCRYPTION.iss, "1970-01")
    for month, serial, now_ms in (("1970-01", 1, NOW_MS), ("1970-03", 2, 61 * 86_400_000)):
        row = msgspec.structs.replace(ROW, serial=serial, expires_ms=now_ms + 1)
        await attempts.to_device(row, to, 0, now_ms)
        assert gateway.got[-1].month_key == MonthKey(month, key_chain.advanced(first, month).key)
    await attempts.to_device(row, await device(sealer), 0, NOW_MS)
    assert gateway.got[-1].month_key is None, "an address without encryption"
    await attempts.to_device(row, await encrypted(sealer, "lost"), 0, NOW_MS)
    assert gateway.got[-1].month_key is None, "a chain that is gone"


async def test_a_month_key_that_cannot_be_written_is_waited_for(
    attempts: Attempts, sealer: Sealer, gateway: Gateway, tmp_path: Path
) -> None:
    """Nothing is sent, with no older key either, and it is not the device's trouble."""
    to = await encrypted(sealer)
    (tmp_path / f"{NAME}.new").mkdir()  # in the way of the rewrite
    now_ms = 61 * 86_400_000
    row = msgspec.structs.replace(ROW, expires_ms=2 * now_ms)
    tried = await attempts.to_device(row, to, 3, now_ms)
    assert (tried.result.verdict, tried.made, tried.is_trouble) == (Verdict.TRANSIENT, 3, False)
    assert KEYS_RETRY_S * 1_000 <= (tried.again_ms or 0) <= (KEYS_RETRY_S + 1) * 1_000
    assert gateway.got == []


async def test_where_too_many_are_under_way_nobody_waits_for_long(
    attempts: Attempts,
    gateway: Gateway,
    mock_clock: MockClock,
) -> None:
    """Whatever their endpoints: who waits takes memory, and comes another time."""
    attempts._at_once = Places(3)
    done, found = trio.Event(), list[Tried]()

    async def attempt(number: int) -> None:
        gateway.says(f"a{number}", done)
        recipient = address(f"a{number}", endpoint=f"e{number}")
        row = msgspec.structs.replace(ROW, serial=number, selector=Selector(recipient=recipient))
        found.append(await attempts.to_address(row, 0, NOW_MS))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(attempt, number)
        await gateway.until(3)
        await wait_all_tasks_blocked()
        assert found == []
        mock_clock.jump(PATIENCE_S)
        await wait_all_tasks_blocked()
        assert [tried.made for tried in found] == [0, 0]
        assert all(tried.again_ms is not None for tried in found)
        done.set()
    assert [tried.made for tried in found] == [0, 0, 1, 1, 1]
    assert attempts.lanes.open_circuits == []
