"""From settings to transports: what is missing or wrong, and where secrets do not go."""

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from api.cli.configuration import command as config_command
from api.config import ConfigError, load
from api.push.key_files import ServiceAccount, p256_key, service_account
from api.push.settings import PushSettings
from api.push.transports import build_transports
from api.push.vapid import KEY_FILE, ORIGINS_MAX, Vapid, kept_key
from broker.push.transport import NOT_CONFIGURED, SENT, Transport, Verdict
from tests.api.push import rig
from tests.api.push.http_gateway import Act
from tests.api.push.rig import DEVICE_TOKEN, FCM_TOKEN, Apns, Fcm, Keys, Now, Web, outgoing, pem

TYPES = {"apns", "fcm", "gcm", "web", "webhook", "matrix", "beamsWebhook", "beamsPublishHook"}


async def test_every_kind_of_recipient_has_a_transport(tmp_path: Path, now: Now) -> None:
    async with rig.built({}, tmp_path, now) as transports:
        assert set(transports.by_type) == TYPES
        implemented: list[Transport] = list(transports.by_type.values())
        assert len(implemented) == len(TYPES)


@pytest.mark.parametrize("kind", ["apns", "fcm", "gcm"])
async def test_what_is_not_configured_says_what_to_set(tmp_path: Path, now: Now, kind: str) -> None:
    async with rig.built({}, tmp_path, now) as transports:
        transport = transports.by_type[kind]
        result = await transport.send(outgoing({}))
        assert (result.verdict, result.code) == (Verdict.MISCONFIGURED, NOT_CONFIGURED)
        assert "set push." in result.message
        assert transport.endpoint(outgoing({})) in TYPES


def _no_file(directory: Path, keys: Keys) -> None:
    pass


def _written(content: str | bytes) -> Callable[[Path, Keys], None]:
    def write(directory: Path, keys: Keys) -> None:
        data = content.encode() if isinstance(content, str) else content
        (directory / "file").write_bytes(data)

    return write


def _rsa(directory: Path, keys: Keys) -> None:
    (directory / "file").write_text(pem(keys.account))


def _encrypted(directory: Path, keys: Keys) -> None:
    sealed = keys.apns.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")
    )
    (directory / "file").write_bytes(sealed)


def _p384(directory: Path, keys: Keys) -> None:
    (directory / "file").write_text(pem(ec.generate_private_key(ec.SECP384R1())))


def _account(directory: Path, keys: Keys) -> None:
    rig.write_account(directory / "file", keys, private_key=pem(keys.apns))


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (_no_file, "No such file"),
        (_written(""), "no private key"),
        (_written("-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----\n"), "no private"),
        (_written("x" * 100_000), "larger than"),
        (_rsa, "no P-256 key"),
        (_p384, "no P-256 key"),
        (_encrypted, "is encrypted"),
    ],
)
@pytest.mark.parametrize("setting", ["apns_key_file", "vapid_key_file"])
def test_key_files_that_cannot_be_used(
    tmp_path: Path, keys: Keys, setting: str, prepare: Callable[[Path, Keys], None], words: str
) -> None:
    prepare(tmp_path, keys)
    apns = {"apns_key_id": "a", "apns_team_id": "b", "apns_topic": "c"}
    settings = {setting: str(tmp_path / "file"), **(apns if "apns" in setting else {})}
    with pytest.raises(ConfigError, match=words) as caught:
        build_transports(PushSettings(**settings), tmp_path)
    assert f"push.{setting}" in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (_no_file, "No such file"),
        (_written("{}"), "no service account"),
        (_written(b"\xff"), "no service account"),
        (_written('{"private_key":"hush"}'), "no service account"),
        (_account, "no RSA key"),
    ],
)
def test_service_accounts_that_cannot_be_used(
    tmp_path: Path, keys: Keys, prepare: Callable[[Path, Keys], None], words: str
) -> None:
    prepare(tmp_path, keys)
    settings = PushSettings(fcm_service_account_file=str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=words) as caught:
        build_transports(settings, tmp_path)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("missing", ["apns_key_file", "apns_key_id", "apns_team_id", "apns_topic"])
def test_half_of_apns_is_refused(tmp_path: Path, missing: str) -> None:
    names = {"apns_key_file", "apns_key_id", "apns_team_id", "apns_topic"} - {missing}
    with pytest.raises(ConfigError, match="go together"):
        build_transports(PushSettings(**dict.fromkeys(names, "x")), tmp_path)


def test_authorities_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("nobody")
    for name in ("file", "absent"):
        with pytest.raises(ConfigError, match=r"push\.ca_file"):
            build_transports(PushSettings(ca_file=str(tmp_path / name)), tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("apns_url", "http://push.example", "must be https"),
        ("apns_url", "push.example", "with a host"),
        ("fcm_url", "https://u:p@push.example", "without a user"),
        ("fcm_token_url", "ftp://push.example", "must be https"),
        ("vapid_subject", "me", "must begin with"),
        ("connect_timeout_ms", "0", "too small"),
        ("total_timeout_ms", "0", "too small"),
        ("connections_max", "0", "too small"),
        ("allow_loopback_targets", "maybe", "true or false"),
    ],
)
def test_settings_that_cannot_be(name: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(flags={f"push.{name}": value})


def test_settings_reach_the_configuration() -> None:
    environment = {
        "TIDELOG_PUSH_APNS_URL": "http://127.0.0.1:7",
        "TIDELOG_PUSH_CONNECTIONS_MAX": "7",
    }
    found = load(environment=environment).push
    assert (found.apns_url, found.connections_max) == ("http://127.0.0.1:7", 7)
    assert not found.allow_loopback_targets


def test_tidelog_config_shows_files_and_no_keys(tmp_path: Path, keys: Keys) -> None:
    rig.write_account(tmp_path / "account.json", keys)
    setting = f"push.fcm_service_account_file={tmp_path / 'account.json'}"
    shown = CliRunner().invoke(config_command, ["--set", setting]).output
    assert "[push]" in shown
    assert "account.json" in shown
    assert "PRIVATE KEY" not in shown


def test_a_kept_key_is_made_whole_and_by_one(tmp_path: Path) -> None:
    directory = tmp_path / "made"
    first = kept_key("push.vapid_key_file", directory)
    again = kept_key("push.vapid_key_file", directory)
    assert first.private_numbers() == again.private_numbers()
    assert [path.name for path in directory.iterdir()] == [KEY_FILE]
    assert stat.S_IMODE((directory / KEY_FILE).stat().st_mode) == 0o600


def test_of_two_that_make_a_key_both_have_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: Keys
) -> None:
    def another_was_first(source: str, target: Path) -> None:
        Path(target).write_text(pem(keys.apns))
        raise FileExistsError

    monkeypatch.setattr(os, "link", another_was_first)
    found = kept_key("push.vapid_key_file", tmp_path)
    assert found.private_numbers() == keys.apns.private_numbers()


def test_a_damaged_kept_key_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_text("damaged")
    with pytest.raises(ConfigError, match=KEY_FILE):
        build_transports(PushSettings(), tmp_path)
    assert (tmp_path / KEY_FILE).read_text() == "damaged"


def test_tokens_for_origins_are_bounded(keys: Keys, now: Now) -> None:
    vapid = Vapid(keys.apns, "mailto:a@b.example", now)
    first = vapid.authorization("https://0.example")
    assert vapid.authorization("https://0.example") == first
    for number in range(1, ORIGINS_MAX + 1):
        vapid.authorization(f"https://{number}.example")
    assert vapid.authorization("https://0.example") != first


def test_keys_have_no_repr(tmp_path: Path, keys: Keys) -> None:
    rig.write_account(tmp_path / "account.json", keys, private_key_id="the-id")
    account: ServiceAccount = service_account("x", tmp_path / "account.json")
    assert "the-id" in repr(account)
    assert "key=" not in repr(account).replace("key_id=", "")
    (tmp_path / "key").write_text(pem(keys.apns))
    assert "PRIVATE" not in repr(p256_key("x", tmp_path / "key"))


async def test_no_secret_is_in_a_log_an_error_or_a_repr(
    apns: Apns,
    fcm: Fcm,
    web: Web,
    tmp_path: Path,
    now: Now,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Success and every kind of failure, with all logging on."""
    caplog.set_level(logging.DEBUG)
    for name in ("api", "tidelog", "broker"):
        caplog.set_level(logging.DEBUG, logger=name)
    settings = {**apns.settings, **fcm.settings, **web.settings}
    said: list[str] = []
    secrets = [DEVICE_TOKEN, FCM_TOKEN]
    async with rig.built(settings, tmp_path, now) as transports:
        device = web.fake.subscribe(transports.public_vapid_key)
        recipients = {
            "apns": {"deviceToken": DEVICE_TOKEN},
            "fcm": {"registrationToken": FCM_TOKEN},
            "web": device,
            "webhook": {"url": f"{web.gateway.url}/hook-hush", "secret": "hush-hush"},
        }
        for kind, recipient in recipients.items():
            transport = transports.by_type[kind]
            said += [
                repr(transport),
                repr(vars(transport)),
                transport.endpoint(outgoing(recipient)),
            ]
            said.append(repr(await transport.send(outgoing(recipient))))
        apns.fake.unregistered[DEVICE_TOKEN] = now.ms
        fcm.fake.unregistered.add(FCM_TOKEN)
        web.fake.browsers["browser-0"].is_gone = True
        for kind, recipient in recipients.items():
            said.append(repr(await transports.by_type[kind].send(outgoing(recipient))))
    secrets += [*fcm.fake.granted, *apns.fake.provider_tokens, "hush", device["targetUrl"]]
    secrets += device["encryptionKey"].values()
    secrets += [request.headers["authorization"][:100] for request in web.gateway.requests[:1]]
    for secret in secrets:
        assert secret not in caplog.text, secret
        assert secret not in "\n".join(said)
    assert "PRIVATE" not in caplog.text


async def test_one_stalled_kind_does_not_hold_the_others(
    apns: Apns, fcm: Fcm, tmp_path: Path, now: Now
) -> None:
    apns.fake.script.then(*[Act.STALL] * 50)
    settings = {**apns.settings, **fcm.settings}
    async with rig.built(settings, tmp_path, now) as transports, trio.open_nursery() as nursery:
        for _ in range(50):
            stalled = outgoing({"deviceToken": DEVICE_TOKEN})
            nursery.start_soon(transports.by_type["apns"].send, stalled)
        await apns.gateway.arrived.wait()
        result = await transports.by_type["fcm"].send(outgoing({"registrationToken": FCM_TOKEN}))
        assert result == SENT
        nursery.cancel_scope.cancel()
