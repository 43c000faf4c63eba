"""The connection limits, without a socket; and the settings that they come from."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from api import admission
from api.admission import Admission
from api.connection import Connection
from api.settings import ServerSettings
from broker.errors import Overloaded, Unavailable


class NoTransport:
    """Stands for the socket of a connection that only counts."""

    class socket:  # noqa: N801 - the name of the attribute it stands for
        @staticmethod
        def shutdown(how: int) -> None:
            raise OSError("not connected")


def admission_of(**limits: Any) -> Admission:
    settings = ServerSettings(**limits)
    return Admission(settings, settings.connections_max)


def admit(rooms: Admission, host: str = "192.0.2.1") -> Connection:
    return rooms.admit(NoTransport(), host)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_one_client_is_an_ipv4_address_or_an_ipv6_64(host: str, group: str) -> None:
    assert admission.address_group(host) == group


def test_counts_per_address_and_forgets_who_left() -> None:
    rooms = admission_of(connections_per_address_max=2)
    first, _ = admit(rooms), admit(rooms)
    with pytest.raises(Overloaded):
        admit(rooms)
    admit(rooms, "192.0.2.2")
    rooms.release(first)
    admit(rooms)
    assert len(rooms.connections) == 3
    assert rooms.refused == {"connections_per_address_max": 1}


def test_counts_altogether() -> None:
    rooms = admission_of(connections_max=1)
    admit(rooms)
    with pytest.raises(Unavailable):
        admit(rooms, "192.0.2.2")


@pytest.mark.parametrize("proxy", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_trusted_proxies_have_no_limit_of_their_own(proxy: str) -> None:
    rooms = admission_of(connections_per_address_max=1, trusted_proxies=("10.0.0.0/8",))
    for _ in range(5):
        admit(rooms, proxy)
    for connection in list(rooms.connections):
        rooms.release(connection)
    assert rooms.refused == {}


async def test_the_oldest_idle_stranger_makes_room_once() -> None:
    rooms = admission_of(unauthenticated_connections_max=2)
    busy, idle = admit(rooms), admit(rooms)
    with busy.request():
        newcomer = admit(rooms)
        assert idle.scope.cancel_called
        with newcomer.request(), pytest.raises(Unavailable):
            admit(rooms)
    assert not busy.scope.cancel_called
    assert rooms.unauthenticated == 2


async def test_who_authenticated_is_never_put_out() -> None:
    rooms = admission_of(unauthenticated_connections_max=1)
    known = [admit(rooms) for _ in range(1)]
    known[0].authenticated()
    known[0].authenticated()
    strangers = [admit(rooms) for _ in range(3)]
    assert [one.scope.cancel_called for one in known + strangers] == [False, True, True, False]
    for connection in list(rooms.connections):
        rooms.release(connection)
    assert rooms.unauthenticated == 0


def test_every_setting_has_a_unit_and_one_line_of_help() -> None:
    for item in dataclasses.fields(ServerSettings):
        assert item.metadata["unit"], item.name
        assert 0 < len(item.metadata["help"]) < 100, item.name
        assert "\n" not in item.metadata["help"]


@pytest.mark.parametrize(
    "bad",
    [
        {"port": -1},
        {"port": 65_536},
        {"body_bytes_max": 0},
        {"idle_timeout_ms": 0},
        {"trusted_proxies": ("10.0.0.1/8",)},
        {"trusted_proxies": ("my-proxy",)},
    ],
)
def test_settings_out_of_range_are_refused_at_once(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\d|proxy"):
        ServerSettings(**bad)


@pytest.mark.parametrize("how", ["authenticated", "answered", "released"])
async def test_only_so_many_websockets_are_opened_at_a_time(how: str) -> None:
    rooms = admission_of(handshakes_max=2)
    first, second = admit(rooms), admit(rooms)
    rooms.open_websocket(first)
    await rooms.wait_for_turn()
    rooms.open_websocket(second)
    ends: dict[str, Callable[[], None]] = {
        "authenticated": first.authenticated,
        "answered": first.answered,
        "released": partial(rooms.release, first),
    }
    async with trio.open_nursery() as nursery:
        for _ in range(2):  # as many as listeners
            nursery.start_soon(rooms.wait_for_turn)
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 2
        ends[how]()
    assert rooms.opening == 1
    assert rooms.unauthenticated == (2 if how == "answered" else 1)
