"""What runs came to: plain data, as JSON has it and a report is made from it."""

import msgspec

ACKNOWLEDGED, DELIVERED = "acknowledged", "delivered"
DROPPED = "not begun in time"  # with the latency that it had at least


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """In microseconds, counted from when the operation was due. encoded: the whole histogram, as
    HdrHistogram encodes it (V2, compressed, base64), of microseconds too."""

    count: int
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    max_us: float
    encoded: str


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What the checker found. violations: how many of each kind; none is in it that is 0.
    examples: some of them in words. reasons: why publishes were refused or their fate is unknown.
    unchecked: what could not be looked at with this driver."""

    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    deliveries: int = 0
    in_history: int = 0
    violations: dict[str, int] = {}
    examples: list[str] = []
    reasons: dict[str, int] = {}
    unchecked: list[str] = []

    @property
    def is_right(self) -> bool:
        return not self.violations


class Generator(msgspec.Struct, frozen=True, kw_only=True):
    """The load generator itself. busy: processor time by time, 1.0 is a whole processor.
    late_p99_us: how much later than due it began operations, while it might. limit_per_s: how many
    it does of this workload against a driver that acknowledges at once. is_limit: not the broker
    but the generator was measured."""

    busy: float
    cpu_us: float
    late_p99_us: float
    limit_per_s: float | None
    is_limit: bool


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one workload on one driver.

    offered_per_s: operations, as asked for; None where each waited for the one before it.
    achieved_per_s: that were acknowledged. latencies: by ACKNOWLEDGED, DELIVERED and whatever else
    the workload does ("history", "resume", …). server_cpu_us: processor time of the server for each
    operation. Of a server elsewhere neither that nor its memory is known. more: what only this
    workload measures, by name and unit ("RSS KiB/connection").
    """

    workload: str
    driver: str
    promise: str
    version: str
    options: dict[str, int | float | str]
    began: str
    seconds: float
    offered_per_s: float | None
    achieved_per_s: float
    delivered_per_s: float
    latencies: dict[str, Latency]
    server_cpu_us: float | None
    server_rss_kib: int | None
    generator: Generator
    checked: Checked
    more: dict[str, float] = {}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a command measured, and on which machine. results: in the order in which they were
    measured; of a comparison, contenders in turn. settings: of the brokers that were started here.
    notes: what else a reader must know, such as which peer is not installed."""

    command: str
    began: str
    machine: dict[str, str]
    disk: list[str]
    results: list[Result]
    settings: dict[str, str] = {}
    notes: list[str] = []
