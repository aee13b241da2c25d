"""A private CA, and a forward proxy, both on loopback, for tests of proxy and CA settings."""

import datetime
import ipaddress
import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.subscriber_http import running

_CHUNK_BYTES = 65_536
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Authority:
    """A private CA and a server that it vouches for.

    Attributes:
        ca_file: What to trust.
        context: For the server.
    """

    ca_file: Path
    context: ssl.SSLContext


def authority(folder: Path, *hosts: str) -> Authority:
    """Make a CA, and a certificate for 127.0.0.1 and these hosts."""
    key, ca_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a private CA")])
    ca = _signed(issuer, issuer, ca_key, ca_key, x509.BasicConstraints(True, None))
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *map(x509.DNSName, hosts)]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server")])
    leaf = _signed(subject, issuer, key, ca_key, x509.SubjectAlternativeName(names))
    ca_file, pem = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(ca.public_bytes(_PEM))
    secret = key.private_bytes(
        _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(leaf.public_bytes(_PEM) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return Authority(ca_file, context)


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    )
    return builder.sign(by, hashes.SHA256())


@dataclass
class Proxy:
    """A forward proxy that takes every name to one server.

    Attributes:
        url: Where it is.
        asked: Request lines.
        headers: Everything else that it could read.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)


@contextmanager
def proxy(to: str, *, password: str | None = None) -> Iterator[Proxy]:
    """Run a proxy in front of the server at `to`; it may ask for a password."""
    seen = Proxy()
    host, _, port = to.rpartition("/")[2].partition(":")

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            seen.asked.append(self.requestline)
            seen.headers.append(str(self.headers))
            if password is not None and "Proxy-Authorization" not in self.headers:
                self.send_error(407)
                return
            with socket.create_connection((host, int(port))) as server:
                self.send_response(200)
                self.end_headers()
                self._copied(self.connection, server)

        def do_GET(self) -> None:
            seen.asked.append(self.requestline)
            self.send_error(502)

        def _copied(self, one: socket.socket, other: socket.socket) -> None:
            """Copy both ways until somebody hangs up."""
            while True:
                ready = select.select([one, other], [], [])[0]
                for source, target in ((one, other), (other, one)):
                    if source in ready:
                        data = source.recv(_CHUNK_BYTES)
                        if not data:
                            return
                        seen.headers.append(data.decode("latin-1"))
                        target.sendall(data)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with running(Handler) as url:
        seen.url = url
        yield seen
