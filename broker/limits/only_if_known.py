"""A command that came too fast, but may be the repeat of one that was accepted.

A client that lost its connection, or an answer, sends again what it may have published. To refuse
that would tell it that what is on disk is not. Whether it is can only be decided in the log's
transaction: there a repeat is answered like the first, and anything else is refused.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from broker.limits.over import Over
from storage import Decision, Rows
from storage.projection import Decide


class OnlyIfKnown(msgspec.Struct, frozen=True, gc=False):
    """`over`: why it is refused if it is new."""

    command: Any
    over: Over


def deciding(decide: Mapping[type, Decide]) -> dict[type, Decide]:
    """`decide`: of the commands that may be in one."""

    def only_if_known(rows: Rows, limited: OnlyIfKnown, ms: int) -> Decision:
        decision = decide[type(limited.command)](rows, limited.command, ms)
        if decision.duplicate is None:
            raise limited.over.error
        return decision

    return {OnlyIfKnown: only_if_known}
