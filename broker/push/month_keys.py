"""The key chains of encrypted pushers: from the secret that a device sends to the key of a month.

A chain's newest link is in the key file, and nothing else of it anywhere: not the secret that it
began with, not a month that is over. Senders need no older key: what is tried again is encrypted
again. In a new month the first who needs a key takes all chains along, in one rewrite of the file;
so that costs one fsync a month, and no secret of a month before stays behind.

A chain is known by its device and by a tag of the identifier that the device gave it. A device that
begins another keeps the one it had until its new address is in the log; which of them is used is
what the address says. So whenever a crash comes, the address that is in the log has its chain.

Refuses secrets of other lengths, and months that nobody can mean: far back, or in the future. One
month ahead is the next: on its last evening it has begun for some.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import trio

from broker.errors import BadRequest, BrokerError, Unavailable
from broker.push import key_chain
from broker.push.key_chain import SECRET_BYTES, Link
from broker.push.key_ids import KEY, SECRET, chain_id, key_id, of_chain, tag_of
from broker.push.keys import Change, Keys
from broker.push.transport import MonthKey
from broker.storage_errors import TIMEOUT

DEFAULT_ZONE = "Europe/Berlin"
MONTHS_BACK_MAX = 100  # gematik's client goes no further either
MONTHS_AHEAD_MAX = 1
PAUSE_S = 10.0  # after a rewrite that failed
IDENTIFIER_CHARS_MAX = 256


class Encryption(NamedTuple):
    """What a device registers. iss: its initial shared secret, and the month it was made in."""

    iss: bytes
    month: str
    key_identifier: str

    def __repr__(self) -> str:
        return f"<Encryption of {self.month}>"


def key_identifier(recipient: Mapping[str, Any]) -> str | None:
    """What a device's address calls its chain; None if it has no encryption."""
    encryption = recipient.get("encryption")
    return str(encryption.get("keyIdentifier")) if isinstance(encryption, dict) else None


class _Chain(NamedTuple):
    """Where a chain is."""

    owner: str
    tag: str
    month: str

    def ids(self) -> dict[str, str]:
        return {kind: chain_id(kind, self.month, self.tag, self.owner) for kind in (KEY, SECRET)}

    def records(self, link: Link) -> dict[str, bytes]:
        ids = self.ids()
        return {ids[KEY]: link.key, ids[SECRET]: link.secret}


class MonthKeys:
    """Of one broker. `zone`: by whose clocks a month begins."""

    def __init__(self, keys: Keys, zone: str = DEFAULT_ZONE) -> None:
        self._keys = keys
        self._zone = ZoneInfo(zone)
        self._months: dict[str, dict[str, str]] = {}  # by owner and tag: of every whole chain
        self._paused_until = 0.0
        for chain in sorted(_whole(keys.ids())):  # the newest of a tag comes last
            self._remember(chain)

    async def begin(self, app: str, device: str, encryption: Encryption, now_ms: int) -> None:
        """The device has this chain, on disk, when this returns; one that began with the same
        secret goes on. Raises BadRequest, Unavailable."""
        current = key_chain.month_at(now_ms, self._zone)
        _check(encryption, current)
        first = key_chain.first(encryption.iss, encryption.month)
        link = key_chain.advanced(first, current)
        chain = _Chain(key_id(app, device), tag_of(encryption.key_identifier), link.month)
        while not self._leads_to(chain, link):
            if chain.tag in self._months.get(chain.owner, ()):
                await self._replace(chain, link)
            else:
                await self._keys.ensure(chain.records(link))
                self._remember(chain)

    def has(self, app: str, device: str, key_identifier: str) -> bool:
        chain = self._found(key_id(app, device), tag_of(key_identifier))
        return chain is not None and self._link(chain) is not None

    async def key(self, app: str, device: str, key_identifier: str, now_ms: int) -> MonthKey | None:
        """The key of this month, or of a later one that the chain has come to. None where there is
        no such chain. Raises Unavailable where it cannot be taken along into this month."""
        owner, tag = key_id(app, device), tag_of(key_identifier)
        chain = self._found(owner, tag)
        current = key_chain.month_at(now_ms, self._zone)
        if chain is not None and chain.month < current:
            await self._advance(chain, current)
            chain = self._found(owner, tag)
        key = self._keys.get(chain.ids()[KEY]) if chain else None
        return MonthKey(chain.month, key) if chain and key else None

    def ids(self, app: str, device: str) -> Set[str]:
        """Of the keys of a device's chains."""
        owner = key_id(app, device)
        chains = [_Chain(owner, *of) for of in self._months.get(owner, {}).items()]
        return {id_ for chain in chains for id_ in chain.ids().values()}

    def is_of(self, id_: str, key_identifier: str | None) -> bool:
        """Whether a key is of the chain that its device names; not a left-over of one."""
        of = of_chain(id_)
        if of is None or key_identifier is None or of.tag != tag_of(key_identifier):
            return False
        chain = self._found(of.owner, of.tag)
        return chain is not None and id_ in chain.ids().values()

    def forget(self, ids: Set[str]) -> None:
        """Chains of whose keys some were destroyed."""
        for of in map(of_chain, ids):
            if of and self._months.get(of.owner, {}).get(of.tag) == of.month:
                self._drop(_Chain(of.owner, of.tag, of.month))

    async def _replace(self, chain: _Chain, link: Link) -> None:
        """Another chain of that name, in one step with the end of the one before."""
        async with self._keys.turn:
            before = self._found(chain.owner, chain.tag)
            put = chain.records(link)
            drop = set(before.ids().values()) - put.keys() if before else set()
            await self._keys.change(lambda: (put, drop))
            self._remember(chain)

    async def _advance(self, wanted: _Chain, month: str) -> None:
        """Every chain is of this month, or of a later one, when this returns."""
        async with self._keys.turn:
            if self._found(wanted.owner, wanted.tag) != wanted:
                return  # somebody took them along, or it is gone
            if trio.current_time() < self._paused_until:
                raise Unavailable("the keys of this month could not be written", TIMEOUT)
            behind: list[_Chain] = []
            try:
                await self._keys.change(
                    lambda: self._advanced(behind, month), lambda: self._note(behind, month)
                )
            except BrokerError:
                self._paused_until = trio.current_time() + PAUSE_S
                raise

    def _advanced(self, chains: list[_Chain], month: str) -> Change:
        """In the thread; of many devices this takes seconds. `chains` is filled with them."""
        chains += [chain for chain in self._all() if chain.month < month]
        put: dict[str, bytes] = {}
        drop: set[str] = set()
        for chain in chains:
            link = self._link(chain)
            if link is not None:
                put |= chain._replace(month=month).records(key_chain.advanced(link, month))
                drop |= set(chain.ids().values())
        return put, drop

    def _leads_to(self, chain: _Chain, link: Link) -> bool:
        """Whether the chain that is there is the one that has this link."""
        found = self._found(chain.owner, chain.tag)
        there = self._link(found) if found else None
        if there is None:
            return False
        return key_chain.advanced(there, link.month) == key_chain.advanced(link, there.month)

    def _link(self, chain: _Chain) -> Link | None:
        ids = chain.ids()
        secret, key = self._keys.get(ids[SECRET]), self._keys.get(ids[KEY])
        return Link(chain.month, secret, key) if secret and key else None

    def _found(self, owner: str, tag: str) -> _Chain | None:
        month = self._months.get(owner, {}).get(tag)
        return _Chain(owner, tag, month) if month else None

    def _all(self) -> Iterator[_Chain]:
        """Those that there were at some moment: others come and go meanwhile."""
        for owner, by_tag in list(self._months.items()):
            for tag, month in list(by_tag.items()):
                yield _Chain(owner, tag, month)

    def _note(self, chains: Iterable[_Chain], month: str) -> None:
        """In the thread: whoever looks meanwhile finds the month before, and waits for the turn."""
        for chain in chains:
            by_tag = self._months.get(chain.owner, {})
            if by_tag.get(chain.tag) == chain.month:
                by_tag[chain.tag] = month

    def _remember(self, chain: _Chain) -> None:
        self._months.setdefault(chain.owner, {})[chain.tag] = chain.month

    def _drop(self, chain: _Chain) -> None:
        by_tag = self._months[chain.owner]
        del by_tag[chain.tag]
        if not by_tag:
            del self._months[chain.owner]


def _whole(ids: Set[str]) -> Iterator[_Chain]:
    for of in map(of_chain, ids):
        if of is not None and of.kind == SECRET:
            chain = _Chain(of.owner, of.tag, of.month)
            if chain.ids()[KEY] in ids:
                yield chain


def _check(encryption: Encryption, current: str) -> None:
    if len(encryption.iss) != SECRET_BYTES:
        raise BadRequest(f"the initial shared secret must have {SECRET_BYTES} bytes")
    if not 0 < len(encryption.key_identifier) <= IDENTIFIER_CHARS_MAX:
        raise BadRequest(f"the key identifier must have 1 to {IDENTIFIER_CHARS_MAX} characters")
    if not key_chain.is_month(encryption.month):
        raise BadRequest("the month of the initial shared secret must be yyyy-MM")
    age = key_chain.months_between(encryption.month, current)
    if not -MONTHS_AHEAD_MAX <= age <= MONTHS_BACK_MAX:
        raise BadRequest("the month of the initial shared secret is too far from this one")
