"""Which addresses are public, and which are this machine's: pure rules on addresses.

Global unicast, and nothing else, is public. Private, loopback, link-local, shared, multicast,
reserved and documentation networks are not, nor are a few that the registries call global. An IPv6
address that carries an IPv4 one (mapped, compatible, NAT64, 6to4) is judged by that one.
"""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# What `ipaddress` calls global although it is not for us to talk to.
_REFUSED_NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",  # protocol assignments; Oracle's cloud metadata
        "192.88.99.0/24",  # 6to4 relays, long gone
        "168.63.129.16/32",  # Azure's host, from inside Azure
        "2001::/23",  # protocol assignments, Teredo and ORCHID among them
        "64:ff9b:1::/48",  # NAT64 for local use: the operator's own prefixes
        "3fff::/20",  # documentation
    )
)
_IPV6_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")


def is_public(address: Address) -> bool:
    """Global unicast, and not one of the exceptions."""
    if any(address in network for network in _REFUSED_NETWORKS):
        return False
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    return address.version == 4 or address in _IPV6_UNICAST


def is_loopback_host(host: str) -> bool:
    """By its spelling; what `localhost` resolves to is still looked at."""
    address = parsed(host)
    if address is not None:
        return carried(address).is_loopback
    return host.rstrip(".").split(".")[-1] == "localhost"


def carried(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, or the address itself."""
    if address.version == 4:
        return address
    assert isinstance(address, ipaddress.IPv6Address)
    known = address.ipv4_mapped or address.sixtofour
    if known is not None:
        return known
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def parsed(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
