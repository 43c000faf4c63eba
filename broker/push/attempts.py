"""One attempt to deliver: to whom, through which lane and transport, and what follows from it.

Reference push.md 5.3. Where the endpoint's circuit is open nothing is tried, and that counts as no
attempt. What a provider says of an address that the device has no more changes nothing.
"""

import logging
from hashlib import blake2b
from typing import Any, NamedTuple

import trio

from broker import randomness
from broker.errors import BrokerError
from broker.push.events import Device
from broker.push.lanes import Closed, Lane, Lanes, Places
from broker.push.month_keys import key_identifier
from broker.push.outbox_log import PublishRow
from broker.push.sealing import Sealer
from broker.push.transport import (
    NO_RECIPIENT,
    NOT_CONFIGURED,
    RETRIES_EXHAUSTED,
    TOKEN_INVALID,
    UNREACHABLE,
    MonthKey,
    Outgoing,
    Result,
    Transport,
    Verdict,
)

logger = logging.getLogger("tidelog.push")
ATTEMPT_S_MAX = 45.0  # FCM: a token, the request, and both once more
ATTEMPTS_AT_ONCE = 1_000
RETRY_MS, RETRY_MS_MAX = 1_000, 3_600_000
MISCONFIGURED_MS = 300_000
KEYS_RETRY_S = 30.0  # a disk that is full stays so for a while
FAILURES_TO_FAIL = 3
ACTIVE, FAILING, FAILED = "ACTIVE", "FAILING", "FAILED"


_NO_TRANSPORT = Result(
    verdict=Verdict.MISCONFIGURED, code=NOT_CONFIGURED, message="there is no transport for it"
)
_NO_ANSWER = Result(verdict=Verdict.TRANSIENT, code=UNREACHABLE, message="no answer in time")


class Tried(NamedTuple):
    """`again_ms`: after how long it is to be tried again; None: it is over. `made`: how many
    attempts were, so far. `is_trouble`: there was one, and the device could not be reached."""

    result: Result
    again_ms: int | None
    made: int
    is_trouble: bool = False


class Attempts:
    """`transports`: by transportType; what is not there is not configured."""

    def __init__(self, sealer: Sealer) -> None:
        self.transports: dict[str, Transport] = {}
        self.lanes = Lanes()
        self._sealer = sealer
        self._at_once = Places(ATTEMPTS_AT_ONCE)

    async def to_device(self, row: PublishRow, device: Device, made: int, now_ms: int) -> Tried:
        """`made`: how many attempts were before."""
        recipient = self._sealer.open(row.app, device.id, device.recipient)
        if recipient is None:
            return _over(NO_RECIPIENT, "the device is gone", made)
        if device.state == FAILED:
            return _over(TOKEN_INVALID, "the device's address is known to be dead", made)
        return await self._to(row, device.id, recipient, made, now_ms, device.updated_ms)

    async def to_address(self, row: PublishRow, made: int, now_ms: int) -> Tried:
        """To the address that a notification names itself."""
        return await self._to(row, "", row.selector.recipient or {}, made, now_ms, 0)

    async def _to(
        self,
        row: PublishRow,
        device: str,
        recipient: dict[str, Any],
        made: int,
        now_ms: int,
        updated_ms: int,
    ) -> Tried:
        if now_ms >= row.expires_ms:
            return _over(RETRIES_EXHAUSTED, "nobody wants it any more", made)
        try:
            month_key = await self._month_key(row.app, device, recipient, now_ms)
        except BrokerError as error:
            return _not_tried(row, str(error), KEYS_RETRY_S, made, now_ms)
        outgoing = Outgoing(
            id=delivery_id(row, device),
            app=row.app,
            recipient=recipient,
            payload=row.payload,
            expires_ms=row.expires_ms,
            updated_ms=updated_ms,
            month_key=month_key,
            made=made,
        )
        try:
            result = await self._sent(outgoing)
        except Closed as closed:
            return _not_tried(row, str(closed), closed.for_s, made, now_ms)
        return _judged(row, result, made, now_ms)

    async def _month_key(
        self, app: str, device: str, recipient: dict[str, Any], now_ms: int
    ) -> MonthKey | None:
        """Raises BrokerError where the key file cannot be written."""
        named = key_identifier(recipient)
        if named is None:
            return None
        return await self._sealer.months.key(app, device, named, now_ms)

    async def _sent(self, outgoing: Outgoing) -> Result:
        """Raises Closed where nothing was tried."""
        transport = self.transports.get(str(outgoing.recipient.get("transportType")))
        if transport is None:
            return _NO_TRANSPORT
        try:
            lane = self.lanes.lane(transport.endpoint(outgoing))
            async with lane.attempt(), self._at_once.one():
                result = await _bounded(transport, outgoing)
                if not result.is_silent:
                    _note(lane, result)
            return result
        except Closed:
            raise
        except Exception:  # a bug in reading one user's address is not everybody's
            logger.exception("a transport failed")
            return _NO_ANSWER


def _note(lane: Lane, result: Result) -> None:
    is_trouble = result.verdict in (Verdict.TRANSIENT, Verdict.MISCONFIGURED)
    if is_trouble and not result.is_of_address:
        lane.failed(at_once=result.verdict is Verdict.MISCONFIGURED)
    else:
        lane.succeeded()


async def _bounded(transport: Transport, outgoing: Outgoing) -> Result:
    try:
        with trio.move_on_after(ATTEMPT_S_MAX):
            return await transport.send(outgoing)
    except Exception:
        logger.exception("a transport failed")
    return _NO_ANSWER


def _not_tried(row: PublishRow, why: str, for_s: float, made: int, now_ms: int) -> Tried:
    result = Result(verdict=Verdict.TRANSIENT, code=UNREACHABLE, message=why)
    again_ms = int((for_s + randomness.jitter()) * 1_000)
    return _while_wanted(row, Tried(result, again_ms, made), now_ms)


def _judged(row: PublishRow, result: Result, made: int, now_ms: int) -> Tried:
    if result.verdict in (Verdict.SENT, Verdict.DEAD, Verdict.REJECTED):
        return Tried(result, None, made + 1)
    is_trouble = result.verdict is Verdict.TRANSIENT
    tried = Tried(result, _again_ms(result, made), made + 1, is_trouble)
    return _while_wanted(row, tried, now_ms)


def _while_wanted(row: PublishRow, tried: Tried, now_ms: int) -> Tried:
    if now_ms + (tried.again_ms or 0) < row.expires_ms:
        return tried
    message = f"given up after {tried.made} attempts: {tried.result.message}"
    return _over(RETRIES_EXHAUSTED, message, tried.made)._replace(is_trouble=tried.is_trouble)


def _again_ms(result: Result, made: int) -> int:
    """Twice as long each time, with full jitter, and not before the provider asked for it."""
    asked_ms = result.retry_after_ms or 0
    if result.verdict is Verdict.MISCONFIGURED:
        return max(asked_ms, MISCONFIGURED_MS)
    longest_ms = min(RETRY_MS << min(made, 12), RETRY_MS_MAX)
    return max(asked_ms, 1 + int(longest_ms * randomness.jitter()))


def _over(code: int, message: str, made: int) -> Tried:
    return Tried(Result(verdict=Verdict.REJECTED, code=code, message=message), None, made)


def delivery_id(row: PublishRow, device: str) -> str:
    """The same at every attempt, in every process: providers tell repeats by it."""
    return blake2b(f"{row.app}\0{row.serial}\0{device}".encode(), digest_size=16).hexdigest()


class Standing(NamedTuple):
    """What an attempt says of a device."""

    state: str
    failures: int
    error: dict[str, Any] | None


def standing(device: Device, tried: Tried) -> Standing:
    """How a device stands after an attempt."""
    result = tried.result
    if result.verdict is Verdict.SENT:
        return Standing(ACTIVE, 0, None)
    error = {"code": result.code, "message": result.message, "statusCode": 400}
    if result.verdict is Verdict.DEAD:
        return Standing(FAILED, device.failures + 1, error)
    if not tried.is_trouble or device.failures >= FAILURES_TO_FAIL:
        return Standing(device.state, device.failures, device.error)
    failures = device.failures + 1
    if failures < FAILURES_TO_FAIL:
        return Standing(device.state, failures, device.error)
    return Standing(FAILING, failures, error)
