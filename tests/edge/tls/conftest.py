"""Certificates of an authority that exists for the test alone, and clients that ask for a name."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from tests.ops.site import Authority


@dataclass
class Certificates:
    """`folder` is the edge's; `put` lays NAME.crt and NAME.key there as a person would."""

    folder: Path
    authority: Authority

    def put(self, *names: str, days: float = 60, file: str = "", mode: int = 0o600) -> tuple[Path, Path]:
        text = self.authority.issue(*names, days=days).read_text()
        cut = text.index("-----BEGIN PRIVATE KEY")
        chain, key = (self.folder / f"{file or names[0].removeprefix('*.')}{end}" for end in (".crt", ".key"))
        chain.write_text(text[:cut])
        key.touch(mode)
        key.chmod(mode)
        key.write_text(text[cut:])
        return chain, key


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """In `$GATEHOUSE_VAR/certs` of the edge that `start_edge` starts."""
    (tmp_path / "ca").mkdir()
    (tmp_path / "certs").mkdir()
    return Certificates(tmp_path / "certs", Authority(tmp_path / "ca"))


async def leaf(port: int, name: str | None, context: ssl.SSLContext | None = None) -> x509.Certificate:
    """What the edge shows to a client that asks for `name`. Raises ConnectionResetError when it refuses."""
    if context is None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with asyncio.timeout(20):
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name or "")
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return x509.load_der_x509_certificate(shown)


def names(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.DNSName)
