"""The ids of keys in the key file: whose each is.

    app:device                            the key of a device
    :secret:2023-11:tag:app:device        what the key chain of a device goes on from
    :key:2023-11:tag:app:device           the month's key of that chain
    :addresses                            that of the digests of addresses

An app's id is not empty and has no colon; a device's may have. `tag` stands for the identifier that
the device gave its chain: one that it gives up and one that it begins are told apart by it.
"""

from hashlib import blake2b
from typing import NamedTuple

ADDRESSES = ":addresses"
SECRET, KEY = "secret", "key"
_TAG_BYTES = 8


class OfChain(NamedTuple):
    """What the id of a chain's key says. owner: the id of its device's key."""

    kind: str
    month: str
    tag: str
    owner: str


def key_id(app: str, device: str) -> str:
    return f"{app}:{device}"


def chain_id(kind: str, month: str, tag: str, owner: str) -> str:
    return f":{kind}:{month}:{tag}:{owner}"


def tag_of(key_identifier: str) -> str:
    return blake2b(key_identifier.encode(), digest_size=_TAG_BYTES).hexdigest()


def of_chain(id_: str) -> OfChain | None:
    """None for a key that is no chain's."""
    parts = id_.split(":", 4)
    return OfChain(*parts[1:]) if len(parts) == 5 and not parts[0] else None


def device_of(id_: str) -> tuple[str, str]:
    """(app, device) that a key is of."""
    chain = of_chain(id_)
    app, _, device = (chain.owner if chain else id_).partition(":")
    return app, device
