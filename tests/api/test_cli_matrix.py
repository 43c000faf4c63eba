"""`tidelog matrix` on a data directory, a broker running on it or not: the same either way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

import broker
from tests.api.command_line import Ended, Serving, fine, inside, serving, tidelog

Run = Callable[..., Ended]
APP_ID = "de.gematik.erezept.ios"
DECLARED = """
[[apps]]
id = "shop"

[[keys]]
key = "shop.web:hush-hush"

[[matrix]]
app = "shop"
channels = { "erp.task.accept" = "disabled", "news" = "enabled" }
encryption = "forbidden"
encryption_of = { "de.gematik.erezept.ios" = "required" }
"""


async def _create(data: Path) -> None:
    async with broker.open(data):
        pass


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with an app, which no test changes."""
    data = tmp_path_factory.mktemp("pristine") / "data"
    trio.run(_create, data)
    return data


def test_the_life_of_channels(data: Path, how: Run) -> None:
    given = ("erp.task.accept", "news=enabled", "a=b=not_set")
    said = fine("matrix", "channels", "set", *given, "--data", data, how=how)
    assert [line.split() for line in said.out.splitlines()] == [
        ["CHANNEL", "AT", "FIRST"],
        ["erp.task.accept", "disabled"],
        ["news", "enabled"],
        ["a=b", "not_set"],
    ]
    assert fine("matrix", "channels", "list", "--data", data, how=how).out == said.out
    listed = fine("matrix", "channels", "list", "--json", "--data", data, how=how).json
    assert listed[1] == {"id": "news", "status": "enabled"}
    fine("matrix", "channels", "set", "--data", data, how=how)
    assert fine("matrix", "show", "--json", "--data", data, how=how).json["channels"] == []


def test_the_life_of_a_rule_of_encryption(data: Path, how: Run) -> None:
    def set_(*arguments: str) -> Any:
        line = ("matrix", "encryption", "set", *arguments, "--json", "--data", data)
        return fine(*line, how=how).json

    assert set_("forbidden") == {"encryption": "forbidden", "encryptionOf": {}}
    expected = {"encryption": "forbidden", "encryptionOf": {APP_ID: "required"}}
    assert set_("required", "--app-id", APP_ID) == expected
    shown = fine("matrix", "encryption", "show", "--data", data, how=how).out
    assert shown == f"encryption: forbidden\nencryption of {APP_ID}: required\n"
    assert shown in fine("matrix", "show", "--data", data, how=how).out
    assert set_("default", "--app-id", APP_ID) == {"encryption": "forbidden", "encryptionOf": {}}
    assert set_("default") == {"encryption": "optional", "encryptionOf": {}}


def test_a_token_is_a_user_s(running: Serving) -> None:
    user = "@alice:example.org"
    token = fine("matrix", "token", user, "--data", running.data).out.strip()
    url = f"http://{running.host}:{running.port}/_matrix/client/v3/pushers"
    reply = httpx.get(url, headers={"Authorization": f"Bearer {token}"})
    assert (reply.status_code, reply.json()) == (200, {"pushers": []})
    reply = httpx.get(
        f"{url.partition('/_')[0]}/stats", headers={"Authorization": f"Bearer {token}"}
    )
    assert reply.status_code == 401, "it is good for nothing else"


def test_a_token_as_json(data: Path, how: Run) -> None:
    line = ("matrix", "token", "alice", "--ttl", "60", "--json", "--data", data)
    issued = fine(*line, how=how).json
    (app,) = fine("apps", "list", "--json", "--data", data, how=how).json
    assert {**issued, "token": "", "expires": 0} == {
        "token": "",
        "user": "alice",
        "app": app["id"],
        "expires": 0,
    }
    assert issued["token"].startswith(f"{app['id']}.")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("channels", "set", "a=on"), 2, "'on' is none of enabled, disabled, not_set"),
        (("channels", "set", "a", "a"), 2, "only once"),
        (("channels", "set", ""), 1, "printable characters"),
        (("channels", "set", "a", "--app", "nobody"), 1, "there is no app 'nobody'"),
        (("encryption", "set", "sometimes"), 2, "'sometimes' is not one of"),
        (("encryption", "set", "required", "--app-id", "x" * 65), 1, "64"),
        (("token", "*"), 1, "clientId"),
        (("token", "alice", "--ttl", "0"), 1, "ttl"),
        (("token", "alice", "--ttl", "90000"), 1, "ttl"),
        (("show", "--app", "nobody"), 1, "there is no app 'nobody'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    alone: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    ended = inside("matrix", *arguments, "--data", alone)
    assert (ended.status, ended.out) == (status, "")
    assert said in ended.err


def test_an_app_whose_keys_permit_no_push(alone: Path) -> None:
    key = fine("keys", "list", "--json", "--data", alone, how=inside).json[0]["name"]
    fine("keys", "create", "--capability", '{"*":["publish"]}', "--data", alone, how=inside)
    fine("keys", "revoke", key, "--data", alone, how=inside)
    ended = inside("matrix", "token", "alice", "--data", alone)
    assert (ended.status, ended.out) == (1, "")
    assert "no key that permits push-subscribe" in ended.err


def test_what_is_declared_is_made_true_at_every_start(tmp_path: Path) -> None:
    config = tmp_path / "tidelog.toml"
    data = tmp_path / "data"
    for text in (DECLARED, DECLARED.replace("news", "new")):
        config.write_text(text)
        with serving(data, "--config", config):
            found = fine("matrix", "show", "--app", "shop", "--json", "--data", data).json
        assert found == {
            "app": "shop",
            "channels": [
                {"id": "erp.task.accept", "status": "disabled"},
                {"id": "news" if text == DECLARED else "new", "status": "enabled"},
            ],
            "encryption": "forbidden",
            "encryptionOf": {APP_ID: "required"},
        }


@pytest.mark.parametrize("rules", ["", 'encryption = "required"\n'])
def test_rules_for_an_app_that_is_not_there_are_refused(tmp_path: Path, rules: str) -> None:
    config = tmp_path / "tidelog.toml"
    config.write_text(f'[[matrix]]\napp = "nope"\n{rules}')
    ended = tidelog("serve", "--port", "0", "--data", tmp_path / "data", "--config", config)
    assert (ended.status, ended.out) == (1, "")
    assert "there is no app 'nope'" in ended.err
