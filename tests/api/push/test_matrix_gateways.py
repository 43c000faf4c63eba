"""Which gateways may be asked, and how they know us: the operator's list, and a certificate."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from api.config import ConfigError, load
from api.push.guard import Refused, RefusedUrl
from api.push.matrix_target import Gateways, NotAllowed, Wire
from api.push.transports import build_transports
from broker.push.transport import NOT_CONFIGURED, SENT, UNREACHABLE, Verdict
from tests.api.push import rig
from tests.api.push.authority import NAMES, Authority
from tests.api.push.http_gateway import serving
from tests.api.push.matrix_gateway import MatrixGateway
from tests.api.push.pushers import encrypted, plain, send
from tests.api.push.rig import Matrix, Now, PushSettings

PRIVATE = "10.1.2.3"


def gateways(*allowed: str) -> Gateways:
    async def resolve(host: str, port: int) -> list[str]:
        return [PRIVATE]

    return Gateways(allowed, allow_loopback=False, resolve=resolve)


@pytest.mark.parametrize(
    ("url", "asked", "wire"),
    [
        ("https://g.example/_matrix/push/v1/notify", None, Wire.MATRIX),
        ("https://g.example/_matrix/push/v1/notify?a=b", None, Wire.MATRIX),
        ("https://g.example/push/v1", "https://g.example/push/v1/", Wire.GEMATIK),
        (
            "https://G.Example:8443/a%2Fb/push/v1/",
            "https://g.example:8443/a%2Fb/push/v1/",
            Wire.GEMATIK,
        ),
    ],
)
def test_the_path_says_how_a_gateway_is_spoken_to(url: str, asked: str | None, wire: Wire) -> None:
    assert gateways().gateway(url) == (asked or url, wire)


async def test_one_that_the_operator_named_may_be_anywhere() -> None:
    of = gateways("gateway.internal", "10.1.2.3:80")
    assert (
        of.gateway("https://gateway.internal/push/v1/").url == "https://gateway.internal/push/v1/"
    )
    assert of.gateway("https://10.1.2.3:80/push/v1/").wire is Wire.GEMATIK
    assert await of.guard.addresses("gateway.internal", 443) == [PRIVATE]
    for host, port in (("gateway.internal", 8443), ("another.internal", 443)):
        with pytest.raises(Refused):
            await of.guard.addresses(host, port)


@pytest.mark.parametrize(
    "url",
    [
        "https://gateway.internal:8443/push/v1/",
        "https://another.example/push/v1/",
        "https://gateway.internal.another.example/push/v1/",
        "https://sub.gateway.internal/push/v1/",
    ],
)
def test_then_no_other_is_asked(url: str) -> None:
    with pytest.raises(NotAllowed):
        gateways("gateway.internal").gateway(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://gateway.internal/push/v1/",
        "https://user@gateway.internal/push/v1/",
        "https://gateway.internal/elsewhere",
    ],
)
def test_what_was_named_is_a_host_and_nothing_more(url: str) -> None:
    with pytest.raises(RefusedUrl):
        gateways("gateway.internal").gateway(url)


async def test_without_a_list_a_private_address_is_refused() -> None:
    of = gateways()
    with pytest.raises(Refused):
        await of.guard.addresses("gateway.internal", 443)
    with pytest.raises(RefusedUrl):
        of.gateway("https://10.1.2.3/push/v1/")


async def test_a_pusher_at_another_gateway_is_rejected_and_lives(
    matrix: Matrix, tmp_path: Path, now: Now
) -> None:
    """The operator may think otherwise tomorrow."""
    settings = {**matrix.settings, "matrix_gateways": ("gateway.internal",)}
    async with rig.built(settings, tmp_path, now) as transports:
        result = await send(transports, plain(matrix))
    assert (result.verdict, result.code) == (Verdict.REJECTED, NOT_CONFIGURED)
    assert matrix.gateway.requests == []


async def test_a_named_gateway_is_asked_though_it_is_this_machine(
    matrix: Matrix, tmp_path: Path, now: Now
) -> None:
    """And a webhook there is not: only gateways were named."""
    host = matrix.gateway.url.removeprefix("https://")
    settings = {"ca_file": matrix.settings["ca_file"], "matrix_gateways": (host,)}
    async with rig.built(settings, tmp_path, now) as transports:
        assert await send(transports, plain(matrix)) == SENT
        hook = {"url": f"{matrix.gateway.url}/hook", "secret": "x"}
        result = await transports.by_type["webhook"].send(rig.outgoing(hook))
        assert result.verdict is Verdict.DEAD
    assert len(matrix.gateway.requests) == 1


@pytest.mark.parametrize(
    "text",
    ["https://gateway.example", "a/b", "user@host", "host:port", "host:99999", "", "a b", "?x"],
)
def test_a_list_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        PushSettings(matrix_gateways=(text,))


def test_the_list_comes_from_the_configuration() -> None:
    found = load(flags={"push.matrix_gateways": "a.example, b.example:8443"}).push
    assert found.matrix_gateways == ("a.example", "b.example:8443")
    with pytest.raises(ConfigError, match="is no host"):
        load(flags={"push.matrix_gateways": "https://a.example"})


@asynccontextmanager
async def wanting_certificates(trusted: Authority, ours: trustme.CA) -> AsyncIterator[Matrix]:
    """A gateway that speaks to nobody without a certificate of this authority."""
    fake = MatrixGateway()
    context = trusted.server_context("h2", "http/1.1")
    context.verify_mode = ssl.CERT_REQUIRED
    ours.configure_trust(context)
    async with serving(fake.handle, context) as gateway:
        settings = {"allow_loopback_targets": True, "ca_file": str(trusted.ca_file)}
        yield Matrix(fake, gateway, settings)


def written(path: Path, ca: trustme.CA) -> str:
    ca.issue_cert("tidelog.example").private_key_and_cert_chain_pem.write_to_path(str(path))
    return str(path)


async def test_gateways_know_us_by_a_certificate(
    trusted: Authority, tmp_path: Path, now: Now
) -> None:
    ours, strangers = trustme.CA(), trustme.CA()
    certificates = {
        "ours": written(tmp_path / "ours.pem", ours),
        "a stranger's": written(tmp_path / "stranger.pem", strangers),
        "none": "",
    }
    async with wanting_certificates(trusted, ours) as matrix:
        for whose, path in certificates.items():
            settings: dict[str, Any] = {**matrix.settings, "matrix_client_cert_file": path}
            async with rig.built(settings, tmp_path, now) as transports:
                result = await send(transports, encrypted(matrix))
            expected = (Verdict.SENT, 0) if whose == "ours" else (Verdict.TRANSIENT, UNREACHABLE)
            assert (result.verdict, result.code) == expected, whose
    assert len(matrix.fake.texts) == 1


async def test_nobody_else_is_shown_the_certificate(
    trusted: Authority, tmp_path: Path, now: Now
) -> None:
    ours = trustme.CA()
    path = written(tmp_path / "ours.pem", ours)
    async with wanting_certificates(trusted, ours) as matrix:
        settings = {**matrix.settings, "matrix_client_cert_file": path}
        async with rig.built(settings, tmp_path, now) as transports:
            hook = {"url": f"{matrix.gateway.url}/hook", "secret": "x"}
            result = await transports.by_type["webhook"].send(rig.outgoing(hook))
    assert result.verdict is Verdict.TRANSIENT
    assert matrix.gateway.requests == []


def _encrypted_key(path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    leaf = trustme.CA().issue_cert(*NAMES)
    key: Any = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    path.write_bytes(sealed + leaf.cert_chain_pems[0].bytes())


def _certificate_alone(path: Path) -> None:
    path.write_bytes(trustme.CA().issue_cert(*NAMES).cert_chain_pems[0].bytes())


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: None, "no certificate"),
        (lambda path: path.write_text("hush"), "no certificate"),
        (_certificate_alone, "no certificate"),
        (_encrypted_key, "is encrypted"),
    ],
)
def test_certificates_that_cannot_be_used(tmp_path: Path, write: Any, words: str) -> None:
    path = tmp_path / "file"
    write(path)
    with pytest.raises(ConfigError, match=words) as caught:
        build_transports(PushSettings(matrix_client_cert_file=str(path)), tmp_path)
    assert "push.matrix_client_cert_file" in str(caught.value)
    assert "hush" not in str(caught.value)
