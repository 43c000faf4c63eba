"""Whether a broker did what it was asked to: what was published, held against what came back.

A stream is what one publisher publishes to one channel: numbers from 0 without holes, and one
outcome each. `Seen` is one reader of a channel: a subscriber, or its history. Every reader must see
each acknowledged message of every stream of its channel once, in the order of the stream.

Whatever was neither acknowledged nor refused (the connection was lost meanwhile) may be there or
not, but not twice and not out of order. How streams of one channel lie between each other is not
looked at: brokers promise different things there.

A reader of presence may miss events while it is cut off, for it is told who is there instead:
`forgive`. That what it is told then is right is not looked at; who is there at the end is.

Costs little memory however long a run is: a reader keeps one number for each stream, and what is
amiss.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Literal

from bench.load.body import NotOurs, now_ns, parse
from bench.load.latency import Latencies
from bench.load.result import Checked

Kind = Literal["lost", "gap", "duplicate", "order", "invented", "refused"]
_EXAMPLES_MAX = 10
WORDS: dict[Kind, str] = {
    "lost": "was acknowledged and never came",
    "gap": "was acknowledged and never came, but what was sent after it did",
    "duplicate": "came twice",
    "order": "came after what was sent behind it",
    "invented": "was never sent there",
    "refused": "was refused, and came",
}


class Stream:
    """Numbers are given out by `next`; each is settled once, or is still under way."""

    __slots__ = ("_failed", "_under_way", "acknowledged", "channel", "number", "sent")

    def __init__(self, number: int, channel: str) -> None:
        self.number = number
        self.channel = channel
        self.sent = 0
        self.acknowledged = 0
        self._under_way: set[int] = set()
        self._failed: dict[int, Literal["refused", "unknown"]] = {}

    def next(self) -> int:
        sequence = self.sent
        self.sent += 1
        self._under_way.add(sequence)
        return sequence

    def acknowledge(self, sequence: int) -> None:
        self._under_way.remove(sequence)
        self.acknowledged += 1

    def fail(self, sequence: int, outcome: Literal["refused", "unknown"]) -> None:
        self._under_way.remove(sequence)
        self._failed[sequence] = outcome

    def is_acknowledged(self, sequence: int) -> bool:
        return (
            sequence < self.sent
            and sequence not in self._under_way
            and sequence not in self._failed
        )

    def refused(self) -> list[int]:
        return [sequence for sequence, how in self._failed.items() if how == "refused"]

    @property
    def unknown(self) -> int:
        return self.sent - self.acknowledged - len(self.refused())


Known = Sequence[tuple[Stream, int]]


class Ledger:
    """All streams of a run, and the violations that their readers found."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.violations: Counter[str] = Counter()
        self.examples: list[str] = []
        self.deliveries = 0
        self.in_history = 0
        self.unchecked: list[str] = []
        self.reasons: Counter[str] = Counter()
        self._readers: list[Seen] = []
        self._of: defaultdict[str, list[Stream]] = defaultdict(list)

    def stream(self, channel: str) -> Stream:
        made = Stream(len(self.streams), channel)
        self.streams.append(made)
        self._of[channel].append(made)
        return made

    def of(self, channel: str) -> list[Stream]:
        return self._of.get(channel, [])

    def reader(self, channel: str, who: str, latencies: Latencies, since_ns: int = 0) -> "Seen":
        """A subscriber. latencies: of what was due from `since_ns` on."""
        made = Seen(self, channel, who, latencies, since_ns)
        self._readers.append(made)
        return made

    def violate(self, kind: str, what: str) -> None:
        self.violations[kind] += 1
        if len(self.examples) < _EXAMPLES_MAX:
            self.examples.append(what)

    def refuse(self, why: str) -> None:
        """What a broker said no with, or how a connection was lost."""
        self.reasons[why if why in self.reasons or len(self.reasons) < _EXAMPLES_MAX else "…"] += 1

    def missing(self) -> int:
        """Acknowledged messages that some subscriber has not seen yet, summed over them."""
        return sum(reader.missing() for reader in self._readers)

    def finish(self) -> None:
        """After the last delivery: what has not come is lost."""
        for reader in self._readers:
            reader.finish()
            self.deliveries += reader.count

    def check_history(self, channel: str, newest_first: Iterable[bytes]) -> None:
        """All that a broker keeps of a channel."""
        seen = Seen(self, channel, "history", None)
        for body in reversed(list(newest_first)):
            seen.take(body)
        seen.finish()
        self.in_history += seen.count

    def check_page(
        self, channel: str, newest_first: Sequence[bytes], limit: int, known: Known
    ) -> None:
        """A page of at most `limit`, read while publishing goes on. known: the last message of each
        stream that was acknowledged before it was asked for, -1 for none."""
        seen = Seen(self, channel, "history", None)
        for body in reversed(newest_first):
            seen.begin_with(body)
            seen.take(body)
        seen.finish_page(known, is_all=len(newest_first) < limit)

    def checked(self) -> Checked:
        refused = sum(len(stream.refused()) for stream in self.streams)
        return Checked(
            acknowledged=sum(stream.acknowledged for stream in self.streams),
            refused=refused,
            unknown=sum(stream.unknown for stream in self.streams),
            deliveries=self.deliveries,
            in_history=self.in_history,
            violations=dict(self.violations),
            examples=self.examples,
            reasons=dict(self.reasons),
            unchecked=self.unchecked,
        )


class Seen:
    """One reader of one channel. `take` what it is given; `finish` at the end."""

    __slots__ = (
        "_awaited",
        "_channel",
        "_forgiven",
        "_holes",
        "_latencies",
        "_ledger",
        "_who",
        "since_ns",
    )

    def __init__(
        self,
        ledger: Ledger,
        channel: str,
        who: str,
        latencies: Latencies | None,
        since_ns: int = 0,
    ) -> None:
        self._ledger = ledger
        self._channel = channel
        self._who = who
        self._latencies = latencies
        self.since_ns = since_ns
        self._awaited: dict[int, int] = {}  # by stream: the number that comes next
        self._holes: dict[int, set[int]] = {}
        self._forgiven: dict[int, set[int]] = {}

    @property
    def count(self) -> int:
        holes = sum(map(len, self._holes.values()))
        return sum(self._awaited.values()) - holes

    def take(self, received: bytes) -> None:
        try:
            number, sequence, due_ns = parse(received)
        except NotOurs as error:
            self._ledger.violate("invented", f"{self._who} of {self._channel}: {error}")
            return
        if self._latencies is not None and due_ns >= self.since_ns:
            self._latencies.record(now_ns() - due_ns)
        awaited = self._awaited.get(number, 0)
        if sequence != awaited or not self._is_sent(number, sequence):
            self._judge(number, sequence, awaited)
        else:
            self._awaited[number] = sequence + 1

    def _is_sent(self, number: int, sequence: int) -> bool:
        streams = self._ledger.streams
        if number >= len(streams):
            return False
        stream = streams[number]
        return stream.channel == self._channel and sequence < stream.sent

    def _judge(self, number: int, sequence: int, awaited: int) -> None:
        holes = self._holes.setdefault(number, set())
        if not self._is_sent(number, sequence):
            self._violate("invented", number, sequence)
        elif sequence >= awaited:
            holes.update(range(awaited, sequence))
            self._awaited[number] = sequence + 1
        elif sequence in holes:
            holes.remove(sequence)
            self._violate("order", number, sequence)
        else:
            self._violate("duplicate", number, sequence)

    def missing(self) -> int:
        found = 0
        for stream in self._ledger.of(self._channel):
            awaited, holes = self._of(stream)
            for sequences in (range(awaited, stream.sent), holes):
                found += sum(1 for _ in self._must_come(stream, sequences))
        return found

    def finish(self) -> None:
        for stream in self._ledger.of(self._channel):
            awaited, holes = self._of(stream)
            lost = self._must_come(stream, range(awaited, stream.sent))
            self._violate_all("lost", stream, lost)
            self._violate_all("gap", stream, self._must_come(stream, sorted(holes)))
            came = (one for one in stream.refused() if one < awaited and one not in holes)
            self._violate_all("refused", stream, came)

    def forgive(self) -> None:
        """What was sent until now and has not come may have been missed: a reader of presence is
        told of the state instead, after it was cut off."""
        for stream in self._ledger.of(self._channel):
            missed = range(self._awaited.get(stream.number, 0), stream.sent)
            self._forgiven.setdefault(stream.number, set()).update(missed)

    def _must_come(self, stream: Stream, sequences: Iterable[int]) -> Iterator[int]:
        forgiven = self._forgiven.get(stream.number, ())
        for sequence in sequences:
            if stream.is_acknowledged(sequence) and sequence not in forgiven:
                yield sequence

    def begin_with(self, received: bytes) -> None:
        """What a stream begins with here, for a reader that does not see its beginning."""
        with suppress(NotOurs):
            number, sequence, _ = parse(received)
            if self._is_sent(number, sequence):
                self._awaited.setdefault(number, sequence)

    def finish_page(self, known: Known, *, is_all: bool) -> None:
        """A page that is full need not have messages of every stream."""
        for stream, last in known:
            awaited, holes = self._of(stream)
            self._violate_all("gap", stream, filter(stream.is_acknowledged, sorted(holes)))
            if awaited <= last and (is_all or stream.number in self._awaited):
                self._violate("lost", stream.number, last)

    def _of(self, stream: Stream) -> tuple[int, set[int]]:
        return self._awaited.get(stream.number, 0), self._holes.get(stream.number, set())

    def _violate_all(self, kind: Kind, stream: Stream, sequences: Iterable[int]) -> None:
        for sequence in sequences:
            self._violate(kind, stream.number, sequence)

    def _violate(self, kind: Kind, number: int, sequence: int) -> None:
        label = f"history: {kind}" if self._who == "history" else kind
        what = f"message {sequence} of publisher {number} {WORDS[kind]}"
        self._ledger.violate(label, f"{self._who} of {self._channel}: {what}")
