"""A site of our own making, over HTTP or HTTPS, with certificates from a CA that exists for the test alone."""

import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """`bundle` is what SSL_CERT_FILE may name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundle = folder / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
        now = datetime.datetime.now(datetime.UTC)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = self._builder(self._name, self._key, now, now + datetime.timedelta(days=900))
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, *names: str, days: float = 60, since_days: float = 90) -> Path:
        """A file with certificate and key, valid for so many days from now; expired where that is negative."""
        now = datetime.datetime.now(datetime.UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        until = now + datetime.timedelta(days=days, minutes=5)
        kinds = [x509.IPAddress(ipaddress.ip_address(n)) if n[0].isdigit() else x509.DNSName(n) for n in names]
        certificate = (
            self._builder(x509.Name([]), key, now - datetime.timedelta(days=since_days), until)
            .add_extension(x509.SubjectAlternativeName(kinds), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        path = self.folder / f"{names[0]}.{days}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
        return path

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.bundle))

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        since: datetime.datetime,
        until: datetime.datetime,
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


class Site:
    """Answers every GET with what `answer(path, host)` says; by default with `status` and `fields`."""

    def __init__(self) -> None:
        self.status = 200
        self.fields: dict[str, Any] = {"success": True, "status": "ready", "checks": {"auth": "healthy"}}
        self.headers: dict[str, str] = {}
        self.silent = False
        self.asked: list[tuple[str, str]] = []
        self.port = 0
        self.url = ""
        self.released = threading.Event()

    def answer(self, path: str, host: str) -> tuple[int, dict[str, str], bytes]:
        return self.status, self.headers, json.dumps(self.fields).encode()


@contextmanager
def serving(
    site: Site, *, certificate: Path | None = None, host: str = "127.0.0.1", oldest: ssl.TLSVersion | None = None
) -> Iterator[Site]:
    """On a free port, which `site.port` and `site.url` then name."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append((self.path, self.headers["Host"]))
            if site.silent:
                site.released.wait(20)
                return
            status, headers, body = site.answer(self.path, self.headers["Host"])
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return None

    class Server(ThreadingHTTPServer):
        def finish_request(self, request: Any, client_address: Any) -> None:
            try:
                if certificate is not None:
                    request = context.wrap_socket(request, server_side=True)
                super().finish_request(request, client_address)
            except OSError:
                return  # a client that did not like our certificate, or had waited enough
            finally:
                request.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate is not None:
        context.load_cert_chain(certificate)
    if oldest is not None:
        context.minimum_version = oldest
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with Server((host, 0), Handler) as server:
        site.port = server.server_address[1]
        site.url = f"{'https' if certificate else 'http'}://{host}:{site.port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            site.released.set()
            server.shutdown()
            thread.join()
