"""The guard of targets: forms of URLs, addresses, and names that point elsewhere a moment later."""

import ipaddress
from collections.abc import Awaitable, Callable

import pytest
import trio

from api.push.addresses import carried, is_public
from api.push.guard import Guard, RefusedAddress, RefusedUrl, system_resolver

REFUSED_ADDRESSES = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",  # metadata of Alibaba's cloud
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",  # metadata of most clouds
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",  # metadata of Oracle's cloud
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "2002:c0a8:101::1",
    "3fff::1",
    "4000::1",
    "fc00::1",
    "fd00:ec2::254",  # metadata of Amazon's cloud
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "not an address",
]
PUBLIC_ADDRESSES = [
    "1.1.1.1",
    "9.255.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450:4001::200e",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
    "2002:101:101::1",
]


def resolving(*addresses: str) -> Callable[[str, int], Awaitable[list[str]]]:
    async def resolve(host: str, port: int) -> list[str]:
        await trio.lowlevel.checkpoint()
        return list(addresses)

    return resolve


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
async def test_addresses_that_are_not_public(address: str) -> None:
    with pytest.raises(RefusedAddress):
        await Guard(resolve=resolving(address)).addresses("push.example", 443)
    with pytest.raises(RefusedAddress):
        await Guard(resolve=resolving("1.1.1.1", address)).addresses("push.example", 443)


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_and_as_the_host_of_a_url(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(RefusedUrl):
        Guard().url(f"https://{host}/")


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
async def test_addresses_that_are_public(address: str) -> None:
    assert await Guard(resolve=resolving(address)).addresses("push.example", 443) == [address]
    host = f"[{address}]" if ":" in address else address
    assert Guard().url(f"https://{host}/")


def test_every_network_of_the_registry_that_is_not_global_is_refused() -> None:
    """The first, the last and one between of everything that Python knows to be private."""
    networks = ["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"]
    networks += ["172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"]
    networks += ["fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "::/8", "2001:db8::/32"]
    for network in map(ipaddress.ip_network, networks):
        for address in (network[0], network[network.num_addresses // 2], network[-1]):
            assert not is_public(carried(address)), address


async def test_only_loopback_is_opened_by_its_switch() -> None:
    loopback = {"127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::127.0.0.1"}
    loopback |= {"64:ff9b::7f00:1", "2002:7f00:1::1"}
    for address in REFUSED_ADDRESSES:
        guard = Guard(allow_loopback=True, resolve=resolving(address))
        if address in loopback:
            assert await guard.addresses("push.example", 443) == [address]
        else:
            with pytest.raises(RefusedAddress):
                await guard.addresses("push.example", 443)


@pytest.mark.parametrize(
    "url",
    [
        "https://push.example",
        "https://push.example/a?b=c#d",
        "https://push.example:443/",
        "https://push.example:1024/",
        "https://push.example:65535/",
        "https://a_b.push-7.example./",
        "https://b\u00fccher.example/",
    ],
)
def test_urls_that_will_do(url: str) -> None:
    assert str(Guard().url(url)).startswith("https://")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "push.example",
        "//push.example/",
        "https://",
        "https:///path",
        "http://push.example/",
        "http://localhost/",
        "ftp://push.example/",
        "file:///etc/passwd",
        "gopher://push.example/",
        "https://user@push.example/",
        "https://user:word@push.example/",
        "https://@127.0.0.1/",
        "https://push.example:22/",
        "https://push.example:0/",
        "https://push.example:1023/",
        "https://push.example:65536/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://2130706433/",
        "https://127.0.0.1./",
        "https://127.0.0.256/",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://127\u30020\u30020\u30021/",
        "https://[::1/",
        "https://[",
        "https://push.example\r\nx: y/",
        "https://push example/",
        "https://push.exa%6dple/",
        "https://" + "a" * 4_096 + "/",
    ],
)
def test_urls_that_will_never_do(url: str) -> None:
    with pytest.raises(RefusedUrl):
        Guard().url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:1/",
        "http://127.0.0.1:80/",
        "http://[::1]/",
        "http://a.localhost/",
        "https://localhost:22/",
    ],
)
def test_with_the_switch_this_machine_may_be_asked_at_any_port_and_over_http(url: str) -> None:
    assert Guard(allow_loopback=True).url(url)
    with pytest.raises(RefusedUrl):
        Guard().url(url)


@pytest.mark.parametrize(
    "url",
    ["http://push.example/", "http://10.0.0.1/", "https://10.0.0.1/", "https://x.example:22/"],
)
def test_with_the_switch_nothing_else_may(url: str) -> None:
    with pytest.raises(RefusedUrl):
        Guard(allow_loopback=True).url(url)


async def test_a_refusal_does_not_say_what_the_name_resolved_to() -> None:
    with pytest.raises(RefusedAddress) as caught:
        await Guard(resolve=resolving("10.1.2.3")).addresses("push.example", 443)
    assert "10.1.2.3" not in str(caught.value)


async def test_a_name_without_an_address() -> None:
    with pytest.raises(OSError, match="no address"):
        await Guard(resolve=resolving()).addresses("push.example", 443)


async def test_the_system_resolves_localhost_to_this_machine() -> None:
    assert set(await system_resolver()("localhost", 443)) <= {"127.0.0.1", "::1"}
