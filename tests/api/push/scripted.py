"""What a gateway should do to the next requests, whatever is in them, in order."""

from collections import deque

from tests.api.push.http_gateway import Answer


class Script:
    def __init__(self) -> None:
        self._answers: deque[Answer] = deque()

    def then(self, *answers: Answer) -> None:
        self._answers.extend(answers)

    def next(self) -> Answer | None:
        return self._answers.popleft() if self._answers else None


class Refusal(Exception):
    """A gateway's refusal; raised where it is found, rendered where the gateway answers."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
