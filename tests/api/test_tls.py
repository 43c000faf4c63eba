"""The TLS context, the development certificate, and who may connect with what."""

import ssl
import stat
from pathlib import Path

import httpx
import pytest
import trio
import trustme
from trio.testing import MockClock

from api import tls
from tests.api.served import Client, get, serving

IDLE_BEFORE_JUMP_S = 0.05


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tls.DevCertificate:
    return tls.dev_certificate(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def context(certificate: tls.DevCertificate) -> ssl.SSLContext:
    return tls.server_context(certificate.cert_file, certificate.key_file)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_development_certificate_is_private_and_kept(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = tls.dev_certificate(data)
    contents = [path.read_bytes() for path in (first.ca_file, first.cert_file, first.key_file)]
    assert tls.dev_certificate(data) == first
    assert contents == [
        path.read_bytes() for path in (first.ca_file, first.cert_file, first.key_file)
    ]
    assert first.key_file.parent == data / "tls-dev"
    assert [mode(path) for path in (data, first.key_file.parent, first.key_file)] == [
        0o700,
        0o700,
        0o600,
    ]
    assert sorted(path.name for path in data.iterdir()) == ["tls-dev"]


def test_it_says_how_to_trust_it(certificate: tls.DevCertificate) -> None:
    ca = str(certificate.ca_file)
    ways = ("SSL_CERT_FILE={}", "NODE_EXTRA_CA_CERTS={}", "curl --cacert {}", "-i {}", "import {}")
    for way in ways:
        assert way.format(ca) in certificate.how_to_trust


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
def test_a_damaged_one_is_reported_and_not_replaced(tmp_path: Path, name: str) -> None:
    directory = tls.dev_certificate(tmp_path).key_file.parent
    (directory / name).unlink()
    with pytest.raises(tls.CertificateError, match="delete"):
        tls.dev_certificate(tmp_path)
    assert not (directory / name).exists()


def test_a_failed_making_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(path: Path, content: bytes) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(tls, "_write_private", full_disk)
    with pytest.raises(OSError, match="disk full"):
        tls.dev_certificate(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unusable_files_are_named(certificate: tls.DevCertificate, tmp_path: Path) -> None:
    with pytest.raises(tls.CertificateError, match=r"missing\.pem"):
        tls.server_context(tmp_path / "missing.pem", certificate.key_file)
    other = tmp_path / "other.pem"
    other.write_bytes(trustme.CA().issue_cert("localhost").private_key_pem.bytes())
    with pytest.raises(tls.CertificateError, match=r"other\.pem"):
        tls.server_context(certificate.cert_file, other)


def test_an_encrypted_key_is_refused_and_nobody_is_asked(
    certificate: tls.DevCertificate, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization as pem

    key = pem.load_pem_private_key(certificate.key_file.read_bytes(), None)
    form = (pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"secret"))
    locked = tmp_path / "locked.pem"
    locked.write_bytes(key.private_bytes(*form))
    with pytest.raises(tls.CertificateError, match="passphrase"):
        tls.server_context(certificate.cert_file, locked)


def test_nothing_below_tls_1_2(context: ssl.SSLContext) -> None:
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    ciphers = [one for one in context.get_ciphers() if one["protocol"] == "TLSv1.2"]
    assert all(one["aead"] and one["kea"] == "kx-ecdhe" for one in ciphers)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize(("http2", "version"), [(True, "HTTP/2"), (False, "HTTP/1.1")])
async def test_alpn_decides_the_protocol(
    certificate: tls.DevCertificate,
    context: ssl.SSLContext,
    host: str,
    http2: bool,
    version: str,
) -> None:
    trust = ssl.create_default_context(cafile=certificate.ca_file)
    body = bytes(range(256)) * 2048
    async with serving(context) as server:
        url = f"https://{host}:{server.port}/echo"
        async with httpx.AsyncClient(http2=http2, verify=trust, trust_env=False) as client:
            for _ in range(3):
                reply = await client.post(url, content=body)
                assert (reply.http_version, reply.status_code) == (version, 200)
                assert reply.content == body
                assert "server" not in reply.headers
            assert len(server.admission.connections) == 1


async def test_the_certificate_is_good_for_ipv6(
    certificate: tls.DevCertificate, context: ssl.SSLContext
) -> None:
    trust = ssl.create_default_context(cafile=certificate.ca_file)
    async with serving(context) as server:
        client = await server.connect()
        secured = trio.SSLStream(client.stream, trust, server_hostname="::1", https_compatible=True)
        await secured.send_all(get())
        assert (await Client(secured).reply()).status == 200


async def test_without_trust_nobody_connects(context: ssl.SSLContext) -> None:
    async with serving(context) as server:
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(f"https://localhost:{server.port}/")
        await server.admission.wait_empty()


@pytest.mark.parametrize("garbage", [get(), b"\x16\x03\x01\x00\x05hello"])
async def test_what_is_not_tls_is_closed(context: ssl.SSLContext, garbage: bytes) -> None:
    async with serving(context) as server:
        client = await server.connect()
        await client.send(garbage)
        assert b"HTTP" not in await client.rest()
        await server.admission.wait_empty()


async def test_too_many_are_closed_before_tls(context: ssl.SSLContext) -> None:
    async with serving(context, connections_max=1) as server:
        await server.connect()
        assert await (await server.connect()).rest() == b""


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=IDLE_BEFORE_JUMP_S)


@pytest.mark.parametrize("start", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["silent", "begun"])
async def test_a_handshake_has_to_end(
    clock: MockClock, context: ssl.SSLContext, start: bytes
) -> None:
    async with serving(context, tls_handshake_timeout_ms=10_000) as server:
        began = trio.current_time()
        client = await server.connect()
        await client.send(start)
        assert await client.rest() == b""
        assert trio.current_time() - began == pytest.approx(10, abs=1)


async def test_a_head_has_to_come_after_the_handshake(
    clock: MockClock, certificate: tls.DevCertificate, context: ssl.SSLContext
) -> None:
    trust = ssl.create_default_context(cafile=certificate.ca_file)
    async with serving(context, header_timeout_ms=10_000) as server:
        client = await server.connect()
        secured = trio.SSLStream(
            client.stream, trust, server_hostname="localhost", https_compatible=True
        )
        await secured.send_all(b"GET / HTTP/1.1\r\nHos")
        assert (await Client(secured).reply()).status == 408
