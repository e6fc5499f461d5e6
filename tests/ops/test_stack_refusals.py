"""Starts that must not happen: each says why, ends with status 1 and leaves nothing running."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from tests.conftest import on_database
from tests.ops.stacks import Stack
from tests.servers import state_directory

LONG_SECRET = "Vq3nB8xT0zLr5Ks9Wd2Yh7Jm4Fc6Gp1A"


@pytest.fixture
def stack() -> Iterator[Stack]:
    with state_directory() as var:
        stack = Stack(var)
        yield stack
        assert stack.processes() == {}


def refusal(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The sentences; there must be no trace of a defect beside them."""
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert all(line.startswith("error: ") for line in lines), done.stderr
    return [line.removeprefix("error: ") for line in lines]


def variables(lines: list[str]) -> set[str]:
    return {line.partition(":")[0] for line in lines}


def test_production_names_everything_that_is_missing_at_once(stack: Stack) -> None:
    lines = refusal(stack.gatehouse("up", ENV="production"))
    assert variables(lines) == {
        "DATABASE_URL",
        "REDIS_URL",
        "DOMAINS",
        "SECRET_KEY",
        "KEY_PEPPER",
        "AUTH_SERVICE_KEY",
        "CORE_SERVICE_KEY",
    }
    assert len(lines) == 7
    assert not (stack.var / "secrets").exists()
    assert not (stack.var / "gatehouse.json").exists()


def test_production_with_embedded_servers_wants_their_passwords_too(stack: Stack) -> None:
    lines = refusal(stack.gatehouse("up", NODE_ENV="production", EMBEDDED="true", DOMAINS="api.example.com"))
    assert variables(lines) == {
        "SECRET_KEY",
        "KEY_PEPPER",
        "AUTH_SERVICE_KEY",
        "CORE_SERVICE_KEY",
        "AUTH_DB_PASSWORD",
        "CORE_DB_PASSWORD",
        "POSTGRES_PASSWORD",
        "REDIS_PASSWORD",
    }
    assert not (stack.var / "secrets").exists()


def test_production_refuses_weak_secrets_and_shows_none(stack: Stack) -> None:
    weak = {"SECRET_KEY": "too-short-7431", "KEY_PEPPER": "changeme" * 8, "AUTH_SERVICE_KEY": LONG_SECRET}
    servers = {"DATABASE_URL": "postgresql://a:pw-9137@127.0.0.1:9/x", "REDIS_URL": "redis://127.0.0.1:9"}
    done = stack.gatehouse(
        "up", ENV="production", DOMAINS="api.example.com", **weak, **servers, CORE_SERVICE_KEY=LONG_SECRET
    )
    lines = refusal(done)
    assert variables(lines) == {"SECRET_KEY", "KEY_PEPPER"}
    for value in ("too-short-7431", "changeme", "pw-9137"):
        assert value not in done.stdout + done.stderr


def test_faults_of_all_services_are_named_at_once_before_anything_starts(stack: Stack) -> None:
    wrong = {"LIMIT_AUTH": "nonsense", "AUTH_WORKERS": "zero", "MODULES": "nope", "SECRET_KEY_FILE": "/nonexistent"}
    lines = refusal(stack.gatehouse("up", **wrong))
    # A file that cannot be read ends it before the services are asked.
    assert lines == ["SECRET_KEY_FILE: /nonexistent does not exist"]
    del wrong["SECRET_KEY_FILE"]
    lines = refusal(stack.gatehouse("up", **wrong))
    assert variables(lines) == wrong.keys()
    assert not (stack.var / "pg").exists()


def test_an_unreachable_database_is_one_sentence(stack: Stack) -> None:
    lines = refusal(stack.gatehouse("up", DATABASE_URL="postgresql://gatehouse:s3cret@127.0.0.1:9/x"))
    assert lines == ["the database at 127.0.0.1:9 cannot be reached: Connection refused"]
    lines = refusal(stack.gatehouse("up", "--detach", DATABASE_URL="postgresql://gatehouse:s3cret@127.0.0.1:9/x"))
    assert lines == ["the database at 127.0.0.1:9 cannot be reached: Connection refused"]


def test_a_failed_migration_is_one_sentence(
    stack: Stack, postgres_dsn: str, empty_database_url: str, redis_url: str
) -> None:
    database = urlsplit(empty_database_url).path.strip("/")
    with psycopg.connect(on_database(postgres_dsn, database), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA auth")
        connection.execute("CREATE TABLE auth.users (a_stranger text)")
        connection.execute(sql.SQL("COMMENT ON TABLE auth.users IS {}").format(sql.Literal(database)))
    lines = refusal(stack.gatehouse("up", DATABASE_URL=empty_database_url, REDIS_URL=redis_url))
    assert lines == ['migration auth_0001 failed: relation "users" already exists']


def test_an_address_that_no_account_can_have_is_one_sentence(stack: Stack, database_url: str, redis_url: str) -> None:
    lines = refusal(stack.gatehouse("up", DATABASE_URL=database_url, REDIS_URL=redis_url, ADMIN_EMAIL="not an address"))
    assert lines == ["ADMIN_EMAIL: not an address is no e-mail address that an account can have"]


def test_a_state_directory_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    assert refusal(Stack(Path("/proc/var")).gatehouse("up")) == [
        "/proc/var cannot be made: No such file or directory; set GATEHOUSE_VAR to another place"
    ]
    deep = tmp_path / ("d" * 100)
    (line,) = refusal(Stack(deep).gatehouse("up"))
    assert re.search(r"is too long a path for Unix sockets in it: set GATEHOUSE_VAR to a shorter one$", line)


def test_production_on_servers_of_its_own_gives_each_service_a_role_and_writes_no_credentials(
    stack: Stack, empty_database_url: str, clean_redis_url: str
) -> None:
    names = ("SECRET_KEY", "KEY_PEPPER", "AUTH_SERVICE_KEY", "CORE_SERVICE_KEY", "AUTH_DB_PASSWORD", "CORE_DB_PASSWORD")
    stack.environ |= {name: f"{LONG_SECRET}{number}" for number, name in enumerate(names)}
    stack.environ |= {"ENV": "production", "DOMAINS": "api.example.com", "REDIS_URL": clean_redis_url}
    stack.environ |= {"DATABASE_URL": empty_database_url, "MIGRATE_DATABASE_URL": empty_database_url}
    try:
        stack.up()
        status = stack.status()
        assert status["ready"]
        assert status["servers"] == []
        with psycopg.connect(empty_database_url) as connection:
            users = connection.execute(
                "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database() AND usename ~ '_'"
            ).fetchall()
        database = urlsplit(empty_database_url).path.strip("/")
        assert {user for (user,) in users} == {f"{database}_auth", f"{database}_core"}
        assert not (stack.var / "gatehouse.json").exists()
        assert not (stack.var / "secrets").exists()
        assert "Password" not in stack.text
    finally:
        stack.interrupt()
        _drop_roles(empty_database_url)


def _drop_roles(url: str) -> None:
    database = urlsplit(url).path.strip("/")
    with psycopg.connect(url, autocommit=True) as connection:
        for role in (f"{database}_auth", f"{database}_core"):
            connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(role)))
