"""A command that came too fast, but may be the repeat of one that was accepted.

A client that lost its connection, or an answer, sends again what it may have published. To refuse
that would tell it that what is on disk is not. Whether it is can only be decided in the log's
transaction: there a repeat is answered like the first, and anything else is refused.

Each type of command that can be repeated has a type of its own here, so that each is as plain a
value as any command.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from broker.limits.over import Over
from storage import Decision, Rows
from storage.projection import Decide


class OnlyIfKnown(msgspec.Struct, frozen=True, kw_only=True):
    """`over`: why it is refused if it is new."""

    over: Over
    if TYPE_CHECKING:
        command: Any


_TYPES: dict[type, type[OnlyIfKnown]] = {}
"""Made as they are needed, once for each type of command."""


def _type_for(kind: type) -> type[OnlyIfKnown]:
    if kind not in _TYPES:
        name = f"{OnlyIfKnown.__name__}{kind.__name__}"
        made = msgspec.defstruct(
            name, [("command", kind)], bases=(OnlyIfKnown,), frozen=True, kw_only=True, gc=False
        )
        assert issubclass(made, OnlyIfKnown)
        _TYPES[kind] = made
    return _TYPES[kind]


def only_if_known(command: Any, over: Over) -> OnlyIfKnown:
    return _type_for(type(command))(command=command, over=over)


def deciding(decide: Mapping[type, Decide], repeatable: Iterable[type]) -> dict[type, Decide]:
    """How to decide those of commands that can be repeated, given how to decide them all."""

    def decided(rows: Rows, limited: OnlyIfKnown, ms: int) -> Decision:
        decision = decide[type(limited.command)](rows, limited.command, ms)
        if decision.duplicate is None:
            raise limited.over.error
        return decision

    return {_type_for(kind): decided for kind in repeatable}
