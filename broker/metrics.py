"""What the broker counts about itself; read by operators, never by decisions."""

from dataclasses import dataclass

from storage import Outcome


@dataclass(slots=True)
class Metrics:
    messages_published: int = 0
    publishes_repeated: int = 0
    repeats_with_another_payload: int = 0
    streams_trimmed: int = 0

    def published(self, messages: int, outcome: Outcome) -> None:
        if outcome.duplicate:
            self.publishes_repeated += 1
            self.repeats_with_another_payload += bool(outcome.reply)
        else:
            self.messages_published += messages

    def swept(self, streams: int) -> None:
        self.streams_trimmed += streams
