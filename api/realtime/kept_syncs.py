"""Frames of recent SYNCs, for the next attachment that would be told the same."""

from collections import OrderedDict
from typing import NamedTuple

KEPT_CHANNELS_MAX = 16
KEPT_FRAMES_MAX = 20


class Told(NamedTuple):
    """Whom the same frames serve: attachments of a channel by one name, in one format."""

    app: str
    name: str
    binary: bool


class KeptSyncs:
    """The frames of recent syncs, by the serial of the channel's last presence event."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Told, tuple[int, list[bytes]]] = OrderedDict()

    def find(self, told: Told, serial: int) -> list[bytes]:
        kept_serial, frames = self._kept.get(told, (0, []))
        return frames if kept_serial == serial else []

    def keep(self, told: Told, serial: int, frames: list[bytes]) -> None:
        if len(frames) > KEPT_FRAMES_MAX:
            return
        self._kept[told] = serial, frames
        self._kept.move_to_end(told)
        if len(self._kept) > KEPT_CHANNELS_MAX:
            self._kept.popitem(last=False)
