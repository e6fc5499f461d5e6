"""Database and store are judged by what they do: real servers, and a real pooler in between."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis

from ops.stack.doctor import Finding
from ops.stack.doctor.production import database, store
from ops.stack.doctor.production.host import Host, is_open
from tests.ops.stacks import free_ports, until
from tests.tools import tool


def host(**settings: str) -> Host:
    return Host.here({"GATEHOUSE_ENV_FILE": "/nonexistent", "GATEHOUSE_VAR": "/nonexistent/var", **settings})


def of_database(**settings: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in database.check(host(**settings))}


@contextmanager
def plain_role(dsn: str) -> Iterator[str]:
    """The DSN of a role without rights."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE doctor_plain LOGIN PASSWORD 'plain'")
        try:
            parts = urlsplit(dsn)
            address = parts.netloc.rpartition("@")[2]
            yield urlunsplit(parts._replace(netloc=f"doctor_plain:plain@{address}"))
        finally:
            connection.execute("DROP ROLE doctor_plain")


@contextmanager
def pgbouncer(dsn: str) -> Iterator[str]:
    """The DSN of a pooler in transaction mode before that database."""
    program, (port,) = tool("pgbouncer"), free_ports(1)
    with psycopg.connect(dsn) as connection:
        info = connection.info
        password = info.password.replace("'", "''")
        server = f"host={info.host} port={info.port} dbname={info.dbname} user={info.user} password='{password}'"
    with TemporaryDirectory() as folder:
        config = Path(folder, "pgbouncer.ini")
        config.write_text(
            f"[databases]\npooled = {server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
            "auth_type = any\npool_mode = transaction\nunix_socket_dir =\n"
        )
        Path(folder).chmod(0o755)  # it refuses to run as root
        words = [program, *(["-u", "nobody"] if os.geteuid() == 0 else []), str(config)]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert until(lambda: is_open("127.0.0.1", port), 10)
            yield f"postgresql://any:any@127.0.0.1:{port}/pooled"
        finally:
            process.terminate()
            process.wait(10)


def test_a_superuser_serving_requests_fails(empty_database_url: str) -> None:
    finding = of_database(DATABASE_URL=empty_database_url)["Database role"]
    assert finding.state == "fail"
    assert "superuser" in finding.detail
    assert "MIGRATE_DATABASE_URL" in finding.fix


def test_a_plain_role_passes(empty_database_url: str) -> None:
    with plain_role(empty_database_url) as url:
        findings = of_database(DATABASE_URL=url)
    assert {finding.state for finding in findings.values()} == {"ok"}
    assert findings["Database role"].detail == "doctor_plain is no superuser"


def test_an_owner_beside_means_roles_of_their_own(empty_database_url: str) -> None:
    findings = of_database(DATABASE_URL=empty_database_url, MIGRATE_DATABASE_URL=empty_database_url)
    assert findings["Database role"].state == "ok"


def test_a_pooler_nobody_told_of_is_found(empty_database_url: str) -> None:
    with pgbouncer(empty_database_url) as pooled:
        untold = of_database(DATABASE_URL=pooled, MIGRATE_DATABASE_URL=empty_database_url)["Pooler"]
        told = of_database(DATABASE_URL=pooled, MIGRATE_DATABASE_URL=empty_database_url, DATABASE_POOLER="transaction")[
            "Pooler"
        ]
        through = of_database(
            DATABASE_URL=empty_database_url, MIGRATE_DATABASE_URL=pooled, DATABASE_POOLER="transaction"
        )["Pooler"]
    assert (untold.state, "set DATABASE_POOLER=transaction" in untold.fix) == ("fail", True)
    assert told.state == "ok"
    assert (through.state, "migrations go through a pooler" in through.detail) == ("fail", True)


def test_a_server_elsewhere_without_tls_is_a_warning() -> None:
    url = "postgresql://u:p@db.invalid/x"
    findings = of_database(DATABASE_URL=url)
    assert findings["Database TLS"].state == "warn"
    assert findings["Database role"].state == "fail"
    assert ":p@" not in f"{findings}"
    assert of_database(DATABASE_URL=f"{url}?sslmode=verify-full")["Database TLS"].state == "ok"


def test_a_server_elsewhere_is_seen_however_its_url_names_it() -> None:
    finding = of_database(DATABASE_URL="postgresql:///x?host=db.invalid&user=u&password=geheim")["Database TLS"]
    assert (finding.state, "db.invalid" in finding.detail, "geheim" in f"{finding}") == ("warn", True, False)
    assert of_database(DATABASE_URL="postgresql:///x?host=/nonexistent")["Database TLS"].state == "ok"


def test_cores_own_role_is_looked_at_too(empty_database_url: str) -> None:
    with plain_role(empty_database_url) as url:
        owner = {"MIGRATE_DATABASE_URL": empty_database_url}
        findings = list(database.check(host(AUTH_DATABASE_URL=url, CORE_DATABASE_URL=empty_database_url, **owner)))
    assert [finding.state for finding in findings if finding.name == "Database role"] == ["ok", "fail"]


def of_store(url: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in store.check(host(REDIS_URL=url))}


def test_a_store_with_a_password_and_a_bound_passes(clean_redis_url: str) -> None:
    with redis.Redis.from_url(clean_redis_url, decode_responses=True) as client:
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", "256mb")
        findings = of_store(clean_redis_url)
        client.config_set("maxmemory", "0")
        unbounded = of_store(clean_redis_url)["Store memory"]
        client.config_set("maxmemory", before)
    assert {finding.state for finding in findings.values()} == {"ok"}
    assert (unbounded.state, "maxmemory" in unbounded.fix) == ("warn", True)


def test_an_open_and_forgetful_store_fails(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    words = [tool("redis-server"), "--port", str(port), "--save", "", "--maxmemory-policy", "allkeys-lru"]
    process = subprocess.Popen([*words, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    try:
        assert until(lambda: is_open("127.0.0.1", port), 10)
        findings = of_store(f"redis://127.0.0.1:{port}/0")
    finally:
        process.terminate()
        process.wait(10)
    assert {name: finding.state for name, finding in findings.items()} == {
        "Store closed": "fail",
        "Store memory": "fail",
    }


def test_a_store_that_is_away_is_told() -> None:
    (finding,) = store.check(host(REDIS_URL=f"redis://127.0.0.1:{free_ports(1)[0]}/0"))
    assert finding.state == "fail"


@pytest.mark.parametrize("check", [database.check, store.check])
def test_embedded_servers_that_do_not_run_are_not_judged(check: object) -> None:
    findings = list(check(host(EMBEDDED="true")))  # type: ignore[operator]
    assert [finding.state for finding in findings] == ["skip"]
