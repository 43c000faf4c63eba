"""Requests to revoke tokens: who may make one, and what became of each of its targets (1.12).

A request is all or nothing where it concerns all targets; a target that says nothing fails alone.

Refuses to do: decide or remember revocations (`broker.auth.revocations`).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from broker.auth.credentials import Principal, is_unicode, split_key_name
from broker.auth.revocations import INVALID_VALUE, TARGET_TYPES, RevokeTokens, Target
from broker.errors import BadRequest, Unauthorized
from broker.events import TokensRevoked
from storage import Outcome

ANOTHER_KEY = 40133
NEEDS_KEY = 40162

TARGETS_MAX = 100
_DIGITS_MAX = 15
_OF_FORM = {"true": True, "false": False}

Submit = Callable[..., Awaitable[Outcome]]


class RevocationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`targets`: as they came, `type:value`. `issued_before`: ms; None is now."""

    targets: tuple[object, ...]
    issued_before: int | None = None
    with_margin: bool = False


class TargetResult(msgspec.Struct, frozen=True):
    """What became of a target: the event, or why there is none."""

    target: object
    revoked: TokensRevoked | None = None
    refusal: BadRequest | None = None


def read(body: object) -> RevocationRequest:
    """The request in a decoded body. Raises BadRequest: 40000 targets or allowReauthMargin, 40003
    issuedBefore."""
    if not isinstance(body, Mapping):
        raise BadRequest("a request to revoke tokens must be an object")
    targets = body.get("targets")
    if not isinstance(targets, Sequence) or isinstance(targets, str | bytes):
        raise BadRequest("targets must be an array")
    if not 1 <= len(targets) <= TARGETS_MAX:
        raise BadRequest(f"targets must name 1 to {TARGETS_MAX} targets")
    margin = body.get("allowReauthMargin")
    margin = _OF_FORM.get(margin, margin) if isinstance(margin, str) else margin
    if not isinstance(margin, bool | None):
        raise BadRequest("allowReauthMargin must be true or false")
    return RevocationRequest(
        targets=tuple(targets),
        issued_before=_issued_before(body.get("issuedBefore")),
        with_margin=bool(margin),
    )


async def revoke(
    request: RevocationRequest, key_name: str, caller: Principal, *, submit: Submit
) -> list[TargetResult]:
    """Revoke tokens of `key_name`; they are refused from the events' `applies_at` on, which is now
    unless a margin was asked for. A result per target, in their order.

    Raises Unauthorized: 40162 the caller came with a token; 40133 with another key; 40163 the key's
    tokens cannot be revoked. BadRequest 40003: issuedBefore lies ahead or too far back.
    """
    if caller.kind != "key":
        raise Unauthorized("tokens are revoked with an API key", NEEDS_KEY)
    if caller.key_name != key_name:
        raise Unauthorized("tokens are revoked with the key that issued them", ANOTHER_KEY)
    app, key = split_key_name(key_name)
    read_targets = [_target(target) for target in request.targets]
    wanted = tuple(target for target in read_targets if isinstance(target, Target))
    command = RevokeTokens(app, key, wanted, request.issued_before, request.with_margin)
    cost = sum(len(target.value) for target in wanted)
    outcome = await submit(command, app=app, cost=cost)
    events = iter(outcome.reply)
    return [
        TargetResult(given, revoked=next(events))
        if isinstance(target, Target)
        else TargetResult(given, refusal=target)
        for given, target in zip(request.targets, read_targets, strict=True)
    ]


def _target(given: object) -> Target | BadRequest:
    if not isinstance(given, str):
        return BadRequest("a target must be a string")
    kind, _, value = given.partition(":")
    if kind not in TARGET_TYPES:
        return BadRequest(f"a target's type must be one of {', '.join(TARGET_TYPES)}")
    if not value or not is_unicode(value):
        return BadRequest("a target must be type:value")
    return Target(kind, value)


def _issued_before(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _DIGITS_MAX:
        value = int(value)  # of a form
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRequest("issuedBefore must be a number of milliseconds", INVALID_VALUE)
    return value
