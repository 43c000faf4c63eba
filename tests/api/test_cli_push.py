"""`tidelog push` on a data directory, a broker running on it or not: the same either way."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import broker
from api.admin.operations import push as push_operations
from broker.push.events import ABLY, INTERESTS, Selector
from broker.push.service import DeviceSpec
from tests.api.command_line import Ended, Serving, fine, inside

Run = Callable[..., Ended]
ADDRESS = "https://hooks.example.com/secret-path"


async def _register(data: Path) -> None:
    async with broker.open(data) as opened:
        for id_, client in (("phone", "alice"), ("tablet", "alice"), ("desk", None)):
            spec = DeviceSpec(
                id=id_,
                platform="android",
                form_factor="phone",
                client_id=client,
                recipient={"transportType": "webhook", "url": ADDRESS},
            )
            await opened.push.register(opened.default_app(), spec)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with three devices, which no test changes."""
    data = tmp_path_factory.mktemp("pristine") / "data"
    trio.run(_register, data)
    return data


def test_devices_are_listed_without_their_addresses(data: Path, how: Run) -> None:
    shown = fine("push", "devices", "--data", data, "--client-id", "alice", how=how)
    listed = fine("push", "devices", "--data", data, "--json", how=how)
    assert {line.split()[0] for line in shown.out.splitlines()[1:]} == {"phone", "tablet"}
    assert "desk" in {device["id"] for device in listed.json}
    assert {device["state"] for device in listed.json} == {"ACTIVE"}
    assert "secret-path" not in shown.out + listed.out


def test_a_removed_device_is_gone_for_good(alone: Path) -> None:
    fine("push", "remove", "desk", "--yes", "--data", alone, how=inside)
    left = fine("push", "devices", "--data", alone, "--json", how=inside).json
    assert {device["id"] for device in left} == {"phone", "tablet"}
    assert b":desk" not in (alone / "keys").read_bytes()
    again = inside("push", "remove", "desk", "--yes", "--data", alone)
    assert (again.status, again.out) == (1, "")
    assert "there is no device 'desk'" in again.err


def test_what_is_sent_waits_in_the_outbox_for_a_broker(alone: Path) -> None:
    fine("push", "send", "Lunch", "--client-id", "alice", "--data", alone, how=inside)
    status = fine("push", "outbox", "--json", "--data", alone, how=inside).json
    (waiting,) = status["unfinished"]
    assert (waiting["expanding"], waiting["waiting"]) == (True, 0)
    assert waiting["for"] == "client alice"
    assert waiting["serial"] in fine("push", "outbox", "--data", alone, how=inside).out


@pytest.mark.parametrize(
    ("selector", "shown"),
    [
        (Selector(channel="c"), "channel c"),
        (Selector(device_id="d", apis=(ABLY,)), "device d"),
        (Selector(topics=("i",), space=INTERESTS), "topics i"),
        (Selector(topics=("i", "j"), clients=("a", "b", "c")), "topics (2), clients (3)"),
        (Selector(recipient={"transportType": "webhook", "url": ADDRESS}), "an address: webhook"),
    ],
)
async def test_the_outbox_says_who_it_is_for(
    tmp_path: Path, selector: Selector, shown: str
) -> None:
    async with broker.open(tmp_path, hold_connections=False) as b:
        await b.push.publish(b.default_app(), selector, {"notification": {"title": "t"}})
        (waiting,) = (await push_operations.status(b))["unfinished"]
        assert waiting["for"] == shown


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("send", "Lunch"), 1, "give one of device, client_id and channel"),
        (("send", "Lunch", "--device", "desk", "--client-id", "a"), 1, "give one of"),
        (("send", "Lunch", "--device", "nobody"), 1, "there is no device 'nobody'"),
        (("devices", "--limit", "0"), 1, "limit must be 1 to 1000"),
        (("devices", "--app", "nobody"), 1, "there is no app 'nobody'"),
        (("remove", "desk"), 2, "give --yes"),
    ],
)
def test_what_makes_no_sense_is_refused(
    alone: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    ended = inside("push", *arguments, "--data", alone)
    assert ended.status == status
    assert said in ended.err


def test_a_backup_is_made_with_the_keys_of_devices(alone: Path, tmp_path: Path) -> None:
    fine("backup", tmp_path / "saved", "--data", alone, how=inside)
    fine("restore", tmp_path / "saved", "--data", tmp_path / "again", how=inside)
    assert (tmp_path / "again" / "keys").read_bytes() == (alone / "keys").read_bytes()

    async def address() -> object:
        async with broker.open(tmp_path / "again") as opened:
            app = opened.default_app()
            device = opened.push.device(app, "desk")
            assert device is not None
            return opened.push.recipient(app, device).get("url")

    assert trio.run(address) == ADDRESS


def test_the_key_that_browsers_subscribe_to_is_in_a_backup(
    running: Serving, tmp_path: Path
) -> None:
    fine("backup", tmp_path / "saved", "--data", running.data)
    key = (running.data / "vapid-key.pem").read_bytes()
    assert (tmp_path / "saved" / "vapid-key.pem").read_bytes() == key
