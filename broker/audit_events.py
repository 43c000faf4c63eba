"""The event of the audit log (broker.audit)."""

from broker.event import Event

ASKED, DONE, FAILED = "asked", "done", "failed"


class AdminActed(Event, frozen=True, tag="admin.acted"):
    """`action`: which one, the same before and after. `phase`: asked, done or failed; `code`: of
    the error. `uid`: of who asked, None where the system does not say. `via`: socket or directory.
    `made`: the name of what the action made."""

    action: str
    operation: str
    arguments: dict[str, str]
    phase: str
    uid: int | None = None
    via: str = ""
    code: int = 0
    made: str = ""
