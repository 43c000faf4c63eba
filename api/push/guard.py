"""Which targets that users name may be asked for: nothing that is nearer to us than to them.

Owns the rules for URLs, and for the addresses that their names turn out to have. A URL is looked at
before every attempt, its addresses before every connection, and the connection then goes to the
very address that was looked at (`api.push.network`): a name that points elsewhere a moment later
changes nothing. A connection that is kept goes on to the address that was looked at when it opened.

    scheme      https; http only for this machine, and only with `allow_loopback`
    userinfo    refused
    port        443, or 1024 and above: no well-known service is spoken to by mistake
    host        a name, or an address; spellings of addresses that only some programs read (127.1,
                0x7f000001) are refused, not guessed
    addresses   global unicast only. Private, loopback, link-local, shared, multicast, reserved and
                documentation networks are refused, and so is a name as soon as one of its addresses
                is. An IPv6 address that carries an IPv4 one (mapped, compatible, NAT64, 6to4) is
                judged by that one; Teredo and local-use NAT64 are refused.

A host that the operator names (of Matrix gateways) may be at any address and port.
`allow_loopback` opens 127.0.0.0/8 and ::1, at any port, and nothing else. Redirects are never
followed, so they need no rule. Refuses to say which address a name had: the answer would be a map
of our network.
"""

import re
import socket
from collections.abc import Awaitable, Callable, Set
from functools import partial

import httpx
import trio

from api.push.addresses import carried, is_loopback_host, is_public, parsed

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a name, in the order to try them. Raises OSError when it has none."""

URL_CHARS_MAX = 4_096
ADDRESSES_MAX = 8
LOOKUPS_MAX = 32  # threads, beside those of the broker
HTTPS_PORT = 443
USER_PORT_MIN, PORT_MAX = 1_024, 65_535

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}")
_ENDS_IN_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?")


class Refused(Exception):
    """The guard will not have it; the message is fit for the user who named the target."""


class RefusedUrl(Refused):
    """Whatever its name resolves to: it will never do."""


class RefusedAddress(Refused):
    """For what its name resolves to now."""


def system_resolver() -> Resolver:
    """getaddrinfo in threads of its own: a name that takes long holds up only those beside it. One
    that takes too long is left behind."""
    lookups = trio.CapacityLimiter(LOOKUPS_MAX)

    async def resolve(host: str, port: int) -> list[str]:
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await trio.to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=lookups)
        return [str(address[0]) for *_, address in found]

    return resolve


class Guard:
    """The rules, and whether loopback is excepted from them. `trusted`: hosts and ports that the
    operator named, which may be at any address."""

    def __init__(
        self,
        *,
        allow_loopback: bool = False,
        resolve: Resolver | None = None,
        trusted: Set[tuple[str, int]] = frozenset(),
    ) -> None:
        self._allow_loopback = allow_loopback
        self._resolve = resolve or system_resolver()
        self._trusted = trusted

    def url(self, text: str) -> httpx.URL:
        """The URL, parsed by what will connect to it. Raises RefusedUrl."""
        url = _parsed(text)
        if url.userinfo:
            raise RefusedUrl("the target must not name a user")
        host = host_of(url)
        is_local = self._allow_loopback and is_loopback_host(host)
        if url.scheme != "https" and not (url.scheme == "http" and is_local):
            raise RefusedUrl("the target must be https")
        if (host, url.port or HTTPS_PORT) in self._trusted:
            return url
        if not is_local and not _is_fit_port(url.port):
            raise RefusedUrl("the target's port must be 443, or 1024 or more")
        self._check_literal(host)
        return url

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host that may be connected to. Raises RefusedAddress, OSError."""
        literal = parsed(host)
        found = [host] if literal else (await self._resolve(host, port))[:ADDRESSES_MAX]
        if not found:
            raise OSError("the name has no address")
        if (host, port) in self._trusted:
            return found
        if not all(self._is_fit(text) for text in found):
            raise RefusedAddress("the target's address is not a public one")
        return found

    def _check_literal(self, host: str) -> None:
        if parsed(host):
            if not self._is_fit(host):
                raise RefusedUrl("the target's address is not a public one")
        elif not is_name(host):
            raise RefusedUrl("the target's host is neither a name nor an address")

    def _is_fit(self, text: str) -> bool:
        address = parsed(text)
        if address is None:
            return False
        address = carried(address)
        return is_public(address) or (self._allow_loopback and address.is_loopback)


def is_name(host: str) -> bool:
    """Not an address either, in a spelling that only some programs read."""
    return bool(_NAME.fullmatch(host)) and not _ENDS_IN_A_NUMBER.fullmatch(host)


def host_of(url: httpx.URL) -> str:
    """As it is connected to: names that are not ASCII in their IDNA form."""
    return url.raw_host.decode("ascii")


def _is_fit_port(port: int | None) -> bool:
    return port in (None, HTTPS_PORT) or USER_PORT_MIN <= (port or 0) <= PORT_MAX


def _parsed(text: str) -> httpx.URL:
    if len(text) > URL_CHARS_MAX:
        raise RefusedUrl(f"the target is longer than {URL_CHARS_MAX} characters")
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeError):
        raise RefusedUrl("the target is not a URL") from None
    if not url.host:
        raise RefusedUrl("the target has no host")
    return url
