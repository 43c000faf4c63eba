"""`tidelog beams` on a data directory, a broker running on it or not, and what a file declares."""

import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

import broker
from api import config
from api.config import ConfigError
from api.reconciling import reconcile
from broker import BadRequest
from tests.api.command_line import Ended, Serving, fine, inside, serving

Run = Callable[..., Ended]
ID = "8f9a6e22-2483-49aa-8552-125f1a4c5781"
HOOK = "https://example.com/beams?a=b"
DECLARED = f"""
[[apps]]
id = "shop"

[[beams]]
app = "shop"
instance = "{ID}"
secret = "hush-hush"

[[beams.webhooks]]
url = "{HOOK}"
secret = "hush-hook"
events = ["v1.UserNotificationOpen"]
"""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the apps `one` and `two`, which no test changes."""
    data = tmp_path_factory.mktemp("pristine") / "data"
    with serving(data):
        pass
    for app in ("one", "two"):
        fine("apps", "create", "--id", app, "--data", data, how=inside)
    return data


def test_an_instance_is_made_listed_and_removed(data: Path, how: Run) -> None:
    made = fine("beams", "create", "--app", "one", "--data", data, "--json", how=how).json
    assert made["app"] == "one"
    assert len(made["vapidPublicKey"]) == 87
    shown = fine("beams", "create", "--app", "two", "--data", data, how=how).out
    assert f"VAPID public key  {made['vapidPublicKey']}\n" in shown
    assert "endpointOverride: 'http://127.0.0.1:8080'" in shown
    listed = fine("beams", "list", "--data", data, "--json", how=how).json
    del made["vapidPublicKey"]
    assert made in listed
    (other,) = [one for one in listed if one["app"] == "two"]
    assert f"'{other['instance']}', '{other['secretKey']}', endpoint='127.0.0.1:8080'" in shown
    table = fine("beams", "list", "--data", data, how=how).out.splitlines()
    assert ["one", made["instance"], made["secretKey"]] in [line.split() for line in table]
    again = how("beams", "create", "--app", "one", "--data", data)
    assert (again.status, again.out) == (1, "")
    assert "app 'one' has a Beams instance already" in again.err
    for one in listed:
        fine("beams", "remove", one["instance"], "--yes", "--data", data, how=how)
    assert fine("beams", "list", "--data", data, "--json", how=how).json == []


def test_removing_asks_first_and_knows_what_is_there(pristine: Path) -> None:
    unasked = inside("beams", "remove", ID, "--data", pristine)
    assert (unasked.status, "give --yes" in unasked.err) == (2, True)
    unknown = inside("beams", "remove", ID, "--yes", "--data", pristine)
    assert (unknown.status, unknown.out) == (1, "")
    assert f"there is no Beams instance '{ID}'" in unknown.err


def test_webhooks_are_added_listed_and_removed(data: Path, how: Run) -> None:
    made = fine("beams", "create", "--app", "two", "--data", data, "--json", how=how).json
    add = ("beams", "webhook", "add", made["instance"])
    first = fine(*add, HOOK, "--data", data, "--json", how=how).json
    assert (first["url"], len(first["events"]), first["customData"]) == (HOOK, 3, {})
    more = ("--event", "v1.UserNotificationOpen", "--secret", "hush", "--custom-data", '{"n": 1}')
    shown = fine(*add, HOOK, *more, "--data", data, how=how).out
    of_instance = (made["instance"], "--data", data)
    listed = fine("beams", "webhook", "list", *of_instance, "--json", how=how).json
    (second,) = [one for one in listed if one != first]
    assert shown == f"webhook  {second['id']}\nsecret   hush\n"
    del second["id"]
    opened = ["v1.UserNotificationOpen"]
    assert second == {"url": HOOK, "secret": "hush", "events": opened, "customData": {"n": 1}}
    table = fine("beams", "webhook", "list", *of_instance, how=how).out
    assert first["secret"] in table
    fine(
        "beams",
        "webhook",
        "remove",
        made["instance"],
        first["id"],
        "--yes",
        "--data",
        data,
        how=how,
    )
    left = fine("beams", "webhook", "list", *of_instance, "--json", how=how).json
    assert [one["secret"] for one in left] == ["hush"]
    fine("beams", "remove", made["instance"], "--yes", "--data", data, how=how)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("http://example.com/",), 1, "the webhook's URL: the target must be https"),
        (("https://10.0.0.1/",), 1, "the webhook's URL: the target's address is not a public one"),
        ((HOOK, "--event", "v2.Any"), 1, "a webhook's events are one or more of v1."),
        ((HOOK, "--custom-data", "[]"), 2, "not a JSON object"),
        ((HOOK, "--secret", "s" * 257), 1, "a webhook's secret has 1 to 256 characters"),
    ],
    ids=["plain", "private", "event", "custom", "secret"],
)
def test_a_webhook_that_makes_no_sense_is_refused(
    pristine: Path, tmp_path: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(pristine, data)
    made = fine("beams", "create", "--app", "one", "--data", data, "--json", how=inside).json
    refused = inside("beams", "webhook", "add", made["instance"], *arguments, "--data", data)
    assert (refused.status, refused.out) == (status, "")
    assert said in refused.err
    assert inside("beams", "webhook", "add", ID, HOOK, "--data", data).status == 1


def test_a_declared_instance_is_there_and_stays(tmp_path: Path) -> None:
    file = tmp_path / "tidelog.toml"
    file.write_text(DECLARED)
    data = tmp_path / "data"
    wanted = [{"app": "shop", "instance": ID, "secretKey": "hush-hush"}]
    for _ in range(2):
        with serving(data, "--config", file):
            assert fine("beams", "list", "--data", data, "--json").json == wanted
            (hook,) = fine("beams", "webhook", "list", ID, "--data", data, "--json").json
            assert (hook["url"], hook["secret"]) == (HOOK, "hush-hook")
    shown = fine("config", "--config", file, how=inside).out
    assert f'# [[beams]]\n# instance = "{ID}"' in shown
    assert "hush" not in shown
    assert "hush" not in repr(config.load(file).declared)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (ID, "shop", r"\[\[beams\]\] number 1: a Beams instance's id must be a UUID"),
        ("hush-hush", "hush hush", "number 1: a Beams instance's secret must be"),
        ('secret = "hush-hush"', "secrets = 1", "number 1: .*secret"),
        ("v1.User", "v2.User", "number 1: a webhook's events are one or more of v1"),
        ("[[beams.webhooks]]", "[beams.webhooks]", "number 1: Expected `array`"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    file = tmp_path / "tidelog.toml"
    file.write_text(DECLARED.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        config.load(file)


async def test_where_a_webhook_may_not_have_its_url_nothing_is_declared(tmp_path: Path) -> None:
    file = tmp_path / "tidelog.toml"
    file.write_text(DECLARED.replace(HOOK, HOOK.replace("https", "http")))
    async with broker.open(tmp_path / "data") as opened:
        with pytest.raises(BadRequest, match="the webhook's URL: the target must be https"):
            await reconcile(opened, config.load(file).declared)
        assert not opened.apps.app_exists("shop")
        assert opened.beams.list() == []


def test_the_key_that_is_shown_is_the_one_that_is_served(running: Serving) -> None:
    made = fine("beams", "create", "--app", "one", "--data", running.data, "--json").json
    path = f"/device_api/v1/instances/{made['instance']}/web-vapid-public-key"
    reply = httpx.get(f"{running.scheme}://{running.host}:{running.port}{path}")
    fine("beams", "remove", made["instance"], "--yes", "--data", running.data)
    assert reply.json() == {"vapidPublicKey": made["vapidPublicKey"]}
