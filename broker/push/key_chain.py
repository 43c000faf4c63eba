"""The chain of month keys that a device and its senders derive alike (gematik's push concept).

    iss ──month──> secret, key ──next month──> secret, key ──> …

HKDF-SHA256 without salt, the month as info, makes 64 bytes of a secret: the first 32 are the secret
for the month behind it, the last 32 this month's AES key. Nobody gets from a month back to one
before, so whoever keeps only the newest link has nothing that opens what was sent earlier. Every
month has its link, also those in which nothing was sent.

Pure: no time, no storage. Months are "2023-10", and compare as text.
"""

import re
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECRET_BYTES = 32
_MONTH = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])", re.ASCII)


class Link(NamedTuple):
    """Of one month. secret: what the next one is derived from. key: for AES-256."""

    month: str
    secret: bytes
    key: bytes


def is_month(text: str) -> bool:
    return _MONTH.fullmatch(text) is not None


def month_at(ms: int, zone: tzinfo) -> str:
    """The month in which a moment is, by the clocks of a zone."""
    return datetime.fromtimestamp(ms / 1_000, UTC).astimezone(zone).strftime("%Y-%m")


def month_after(month: str) -> str:
    year, number = divmod(_number(month) + 1, 12)
    return f"{year:04}-{number + 1:02}"


def months_between(earlier: str, later: str) -> int:
    """How many links lead from one to the other; negative the other way."""
    return _number(later) - _number(earlier)


def _number(month: str) -> int:
    return int(month[:4]) * 12 + int(month[5:]) - 1


def first(iss: bytes, month: str) -> Link:
    """Of the initial shared secret, whose month it was made for."""
    hkdf = HKDF(algorithm=SHA256(), length=2 * SECRET_BYTES, salt=None, info=month.encode("ascii"))
    derived = hkdf.derive(iss)
    return Link(month, derived[:SECRET_BYTES], derived[SECRET_BYTES:])


def advanced(link: Link, month: str) -> Link:
    """The link of a later month; the same for one that is not."""
    while link.month < month:
        link = first(link.secret, month_after(link.month))
    return link
