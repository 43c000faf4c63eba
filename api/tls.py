"""TLS: the server's context, and a certificate for development that its owner can choose to trust.

Owns `<data dir>/tls-dev/`. The development certificate is made once, by an authority that exists
only while it is made: what is kept can prove to be this server on this machine, and can sign
nothing else. It is made whole in a directory of another name and moved into place, so a crash
leaves none or all.

Refuses TLS below 1.2, renegotiation, and to replace a development certificate that is damaged:
its owner trusts a file that would silently become another one.
"""

import os
import shutil
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

import trustme

DEV_DIRECTORY = "tls-dev"
DEV_NAMES = ("localhost", "127.0.0.1", "::1")
ALPN_PROTOCOLS = ["h2", "http/1.1"]
# TLS 1.2: forward secrecy and AEAD only, as HTTP/2 demands (RFC 9113 9.2.2); 1.3 has no other.
TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
OWNER_ONLY_FILE = 0o600
OWNER_ONLY_DIRECTORY = 0o700

TRUST_TEXT = """\
This is a development certificate for {names}. Clients must be told to trust it:
  ably-python  SSL_CERT_FILE={ca}
  Node.js      NODE_EXTRA_CA_CERTS={ca}
  curl         curl --cacert {ca} https://localhost:PORT/time
  Chromium     certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n tidelog -i {ca}
  Firefox      import {ca} in Settings, Certificates, Authorities
"""


class CertificateError(Exception):
    """Certificate or key cannot be used; the message says which file, and what to do."""


@dataclass(frozen=True)
class DevCertificate:
    ca_file: Path
    cert_file: Path
    key_file: Path

    @property
    def how_to_trust(self) -> str:
        return TRUST_TEXT.format(names=", ".join(DEV_NAMES), ca=self.ca_file)


def server_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(TLS12_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # A client that ends without a goodbye may still read: HTTP and WebSocket know what is whole.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)  # OpenSSL 3
    context.set_alpn_protocols(ALPN_PROTOCOLS)
    load_certificate(context, cert_file, key_file)
    return context


def load_certificate(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    """For connections from now on. Raises CertificateError."""
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise CertificateError(f"cannot use {cert_file} with {key_file}: {error}") from error


def _no_password() -> str:
    """Without this, OpenSSL would ask on the terminal, and a server would wait there for ever."""
    raise ValueError("the key is encrypted; give one without a passphrase")


def dev_certificate(data_directory: Path) -> DevCertificate:
    """The development certificate of a data directory, made on first use and kept from then on."""
    directory = data_directory.absolute() / DEV_DIRECTORY
    certificate = DevCertificate(
        directory / "ca.pem", directory / "cert.pem", directory / "key.pem"
    )
    if not directory.exists():
        _make(directory)
    _check(certificate)
    return certificate


def _check(certificate: DevCertificate) -> None:
    advice = f"delete {certificate.ca_file.parent} to get a new one, and trust that"
    if not certificate.ca_file.exists():
        raise CertificateError(f"{certificate.ca_file} is missing: {advice}")
    try:
        server_context(certificate.cert_file, certificate.key_file)
    except CertificateError as error:
        raise CertificateError(f"{error}; {advice}") from error


def _make(directory: Path) -> None:
    directory.parent.mkdir(mode=OWNER_ONLY_DIRECTORY, parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{DEV_DIRECTORY}.", dir=directory.parent))  # mode 0700
    try:
        for name, content in _issue().items():
            _write_private(draft / name, content)
        draft.rename(directory)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _issue() -> dict[str, bytes]:
    authority = trustme.CA(organization_name="Tidelog", organization_unit_name="development")
    leaf = authority.issue_cert(*DEV_NAMES)
    return {
        "ca.pem": authority.cert_pem.bytes(),
        "cert.pem": b"".join(pem.bytes() for pem in leaf.cert_chain_pems),
        "key.pem": leaf.private_key_pem.bytes(),
    }


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
