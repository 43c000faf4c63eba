"""An app's rules for Matrix pushers, for callers."""

from broker.apps import Submit, View
from broker.matrix import rules
from broker.matrix.rules import (
    Encryption,
    MatrixRules,
    SetMatrixChannels,
    SetMatrixEncryption,
    Status,
)


class Matrix:
    def __init__(self, submit: Submit, rows: View) -> None:
        self._submit = submit
        self._rows = rows

    def rules(self, app: str) -> MatrixRules:
        with self._rows() as rows:
            return rules.rules(rows, app)

    async def set_channels(self, app: str, channels: dict[str, Status]) -> None:
        """The channels that there are from now on, each with what a new pusher begins with. Raises
        BadRequest, NotFound."""
        await self._submit(SetMatrixChannels(app, channels), app=app)

    async def set_encryption(
        self, app: str, rule: Encryption | None, app_id: str | None = None
    ) -> None:
        """Of an app_id, or of those that have no rule of their own; None takes a rule back. Raises
        BadRequest, NotFound."""
        await self._submit(SetMatrixEncryption(app, rule, app_id), app=app)
