"""The settings of a log: every bound of this layer, with its unit, default and one line of help."""

from dataclasses import dataclass, field, fields
from typing import Any

KIB = 1024
MIB = 1024 * KIB
TIB = 1024 * 1024 * MIB


_MAY_BE_ZERO = frozenset(
    {
        "max_bytes",
        "disk_reserve_bytes",
        "tail_records_max",
        "maintenance_rest",
        "check_bytes_max",
        "switch_interval_us",
    }
)


def setting(default: Any, unit: str, help_text: str) -> Any:
    """A dataclass field that carries its documentation: `tidelog config` prints from it."""
    return field(default=default, metadata={"unit": unit, "help": help_text})


def check_positive(settings: Any, may_be_zero: frozenset[str]) -> None:
    """Raise ValueError for a number that bounds nothing."""
    for name in (item.name for item in fields(settings)):
        value = getattr(settings, name)
        if isinstance(value, int) and value < (0 if name in may_be_zero else 1):
            raise ValueError(f"{name} is too small: {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    map_bytes: int = setting(TIB, "bytes", "address space reserved for the log, never resized")
    max_bytes: int = setting(
        0, "bytes", "refuse writes when the log holds this much; 0 is no limit"
    )
    disk_reserve_bytes: int = setting(
        64 * MIB, "bytes", "refuse writes below this much free disk (at most 5% of the disk)"
    )
    queue_commands_max: int = setting(20_000, "commands", "commands that may wait for the writer")
    queue_bytes_max: int = setting(64 * MIB, "bytes", "payload that may wait for the writer")
    batch_commands_max: int = setting(1_000, "commands", "commands in one commit")
    batch_bytes_max: int = setting(8 * MIB, "bytes", "payload in one commit")
    heads_max: int = setting(100_000, "streams", "chain heads the writer remembers")
    cached_rows_max: int = setting(50_000, "rows", "projection rows the writer remembers")
    serial_lead_ms_max: int = setting(
        86_400_000, "ms", "how far serials may run ahead of the wall clock before writes stop"
    )
    read_records_max: int = setting(1_000, "records", "records one read transaction returns")
    read_bytes_max: int = setting(8 * MIB, "bytes", "payload one read transaction returns")
    read_threads: int = setting(4, "threads", "threads for history, catch-up and verification")
    readers_max: int = setting(512, "slots", "LMDB reader slots over all processes")
    tail_records_max: int = setting(20_000, "records", "recent records kept in memory for tails")
    maintenance_records: int = setting(500, "records", "records one trim or rebuild step handles")
    maintenance_rest: int = setting(
        3, "times", "after a step, rest this many times as long while commands are waiting"
    )
    check_bytes_max: int = setting(
        16 * MIB, "bytes", "check the whole structure at open up to this size, the ends above it"
    )
    switch_interval_us: int = setting(
        100, "us", "interpreter thread switch interval; 0 leaves it (bench/RESULTS.md)"
    )

    def __post_init__(self) -> None:
        check_positive(self, _MAY_BE_ZERO)
