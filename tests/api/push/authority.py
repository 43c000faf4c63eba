"""A certificate authority for gateways that tests start, and the file that makes us trust it."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

NAMES = ("localhost", "127.0.0.1", "push.example", "hook.example")


@dataclass(frozen=True)
class Authority:
    ca_file: Path
    leaf: trustme.LeafCert

    def server_context(self, *alpn: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.leaf.configure_cert(context)
        context.set_alpn_protocols(list(alpn))
        return context

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)


def authority(directory: Path) -> Authority:
    ca = trustme.CA()
    ca_file = directory / "gateways-ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    return Authority(ca_file, ca.issue_cert(*NAMES))
