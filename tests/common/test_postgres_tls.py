"""A database that takes TLS only, as managed ones do: what `sslmode` promises is kept by both drivers."""

import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from common.errors import ServiceUnavailable
from common.postgres import Database, PoolOptions
from ops.migrate import MigrationFailed, migrate
from tests.conftest import made_database, on_database
from tests.pgbouncer import pgbouncer, through
from tests.servers import state_directory


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate that signs itself for 127.0.0.1 and `localhost`, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(names)
        .issuer_name(names)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    crt, pem = folder / f"{name}.crt", folder / f"{name}.key"
    crt.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return crt, pem


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with state_directory() as var:
        yield var.parent


@pytest.fixture(scope="module")
def trusted(folder: Path) -> Path:
    """The certificate that the server shows."""
    return certificate(folder, "server")[0]


@pytest.fixture(scope="module")
def url(folder: Path, trusted: Path, postgres_dsn: str) -> Iterator[str]:
    """The URL of a database behind a pooler that takes TLS and nothing else: the embedded server has none."""
    key = trusted.with_suffix(".key")
    key.chmod(0o644)  # the pooler runs as somebody else
    more = f"client_tls_sslmode = require\nclient_tls_cert_file = {trusted}\nclient_tls_key_file = {key}\n"
    with (
        made_database(postgres_dsn, template=None) as name,
        pgbouncer(postgres_dsn, {}, mode="session", more=more) as address,
    ):
        yield through(address, on_database(postgres_dsn, name))


async def connects(url: str) -> bool:
    """As the services do."""
    database = Database(PoolOptions(url, size_max=1, wait_seconds=5))
    await database.open()
    try:
        async with database.connection() as connection:
            return bool(await connection.fetchval("SELECT true"))
    finally:
        await database.close()


@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_both_drivers_take_sslmode_from_the_url(url: str, trusted: Path, mode: str) -> None:
    secure = f"{url}?sslmode={mode}&sslrootcert={quote(str(trusted))}"
    assert await connects(secure)
    assert migrate(secure) is not None
    with psycopg.connect(secure) as connection:
        assert connection.pgconn.ssl_in_use


async def test_certificate_of_somebody_else_is_refused_by_both_drivers(url: str, folder: Path) -> None:
    other, _ = certificate(folder, "other")
    insecure = f"{url}?sslmode=verify-full&sslrootcert={quote(str(other))}"
    with pytest.raises(ServiceUnavailable) as refused:
        await connects(insecure)
    assert "certificate verify failed" in refused.value.detail
    with pytest.raises(MigrationFailed, match="certificate verify failed"):
        migrate(insecure)


async def test_server_that_insists_on_tls_refuses_the_clear(url: str) -> None:
    with pytest.raises(ServiceUnavailable):
        await connects(f"{url}?sslmode=disable")
    with pytest.raises(MigrationFailed, match="SSL required"):
        migrate(f"{url}?sslmode=disable")
