"""How much a run measures: the whole thing, a quick look, or next to nothing (for the tests)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """rounds: turns that every contender gets; turn_s: how long one takes.

    layout_commits: (records in a commit, commits in a turn). history: messages of the channels that
    pages are read from. pages: how often each page is read. rest: (connections, messages in a
    request). opened: (messages, channels) of the directory that is opened. annotations, versions:
    those that a message has. push: devices that one notification is for, one first of all; the most
    have one turn.
    """

    name: str
    rounds: int
    turn_s: float
    publishers: tuple[int, ...]
    channels: tuple[int, ...]
    busy_publishers: tuple[int, ...]
    layout_channels: tuple[int, ...]
    layout_commits: tuple[tuple[int, int], ...]
    rest: tuple[tuple[int, int], ...]
    history: tuple[int, ...]
    pages: int
    opened: tuple[int, int]
    annotations: tuple[int, ...]
    versions: tuple[int, ...]
    push: tuple[int, ...]


FULL = Scale(
    name="full",
    rounds=3,
    turn_s=2.0,
    publishers=(1, 10, 100, 1_000),
    channels=(1, 100, 10_000),
    busy_publishers=(1, 100),
    layout_channels=(1, 100, 10_000),
    layout_commits=((1, 400), (100, 400)),
    rest=((1, 1), (16, 1), (1, 100), (4, 100)),
    history=(1_000, 100_000, 1_000_000),
    pages=200,
    opened=(1_000_000, 10_000),
    annotations=(0, 1_000, 100_000),
    versions=(1_000, 10_000),
    push=(1, 100, 10_000, 100_000),
)
QUICK = Scale(
    name="quick",
    rounds=2,
    turn_s=0.5,
    publishers=(1, 10, 100, 1_000),
    channels=(1, 100, 10_000),
    busy_publishers=(1, 100),
    layout_channels=(1, 100, 10_000),
    layout_commits=((1, 100), (100, 150)),
    rest=((1, 1), (16, 1), (1, 100), (4, 100)),
    history=(1_000, 100_000),
    pages=50,
    opened=(100_000, 10_000),
    annotations=(0, 1_000, 10_000),
    versions=(1_000, 10_000),
    push=(1, 100, 1_000, 10_000),
)
TINY = Scale(
    name="tiny",
    rounds=2,
    turn_s=0.03,
    publishers=(1, 4),
    channels=(1, 3),
    busy_publishers=(3,),
    layout_channels=(2,),
    layout_commits=((1, 3), (10, 3)),
    rest=((1, 1), (2, 5)),
    history=(5, 250),
    pages=2,
    opened=(300, 10),
    annotations=(0, 120),
    versions=(250,),
    push=(1, 600, 1_200),
)
