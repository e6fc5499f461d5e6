"""An empty PostgreSQL made ready, by superusers and by those who are none, and by hand with psql."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from ops.cli.setup import command
from ops.embedded import postgres_programs
from ops.migrate import create_roles, migrate
from ops.setup import database, server
from ops.setup.machine import Machine
from ops.setup.secret_files import SecretFiles
from ops.setup.server import Names
from ops.stack.errors import StackError
from tests.conftest import on_database
from tests.servers import servers

_MEMBER_OF = """
SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE m.member = %s::regrole
"""
_ATTRIBUTES = """
SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = current_user
"""
URLS = ("MIGRATE_DATABASE_URL", "AUTH_DATABASE_URL", "CORE_DATABASE_URL")


@pytest.fixture
def names(postgres_dsn: str) -> Iterator[Names]:
    names = Names(f"made_{uuid.uuid4().hex[:12]}")
    yield names
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(names.database)))
        for kind in server.ROLES:
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(names.role(kind))))


@contextmanager
def administrator(postgres_dsn: str, attributes: str) -> Iterator[str]:
    """The URL of a role that is no superuser."""
    name, password = f"admin_{uuid.uuid4().hex[:8]}", "p:w/d@1%'x"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} " + attributes)
        connection.execute(statement.format(sql.Identifier(name), password))
    parts = urlsplit(on_database(postgres_dsn, "postgres"))
    address = parts.netloc.rpartition("@")[2]
    try:
        yield parts._replace(netloc=f"{name}:{quote(password, safe='')}@{address}").geturl()
    finally:
        with psycopg.connect(postgres_dsn, autocommit=True) as connection:
            role = sql.Identifier(name)
            connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(role))
            connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
            for row in connection.execute(_MEMBER_OF, (name,)).fetchall():
                connection.execute(sql.SQL("REVOKE {} FROM {} CASCADE").format(sql.Identifier(row[0]), role))
            connection.execute(sql.SQL("DROP ROLE {}").format(role))


def kept(root: Path) -> SecretFiles:
    return SecretFiles(Machine(root), Path("/secrets"), {})


def row(url: str, query: str) -> tuple[object, ...] | None:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchone()  # type: ignore[arg-type]


def attributes(url: str) -> tuple[object, ...] | None:
    return row(url, _ATTRIBUTES)


def serves(urls: dict[str, str], passwords: dict[str, str]) -> None:
    """The owner migrates and grants; services work with rows of their own schema, and nobody may do more."""
    migrate(urls["MIGRATE_DATABASE_URL"])
    prefix = urlsplit(urls["MIGRATE_DATABASE_URL"]).path.strip("/")
    create_roles(urls["MIGRATE_DATABASE_URL"], passwords, prefix=prefix)
    assert row(urls["AUTH_DATABASE_URL"], "SELECT count(*) FROM auth.users") == (0,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        row(urls["CORE_DATABASE_URL"], "SELECT count(*) FROM auth.users")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        row(urls["AUTH_DATABASE_URL"], "CREATE TABLE public.x (id int)")
    assert [attributes(urls[name]) for name in URLS] == [(False,) * 5] * 3


@pytest.mark.parametrize("admin", ["SUPERUSER", "CREATEDB CREATEROLE"])
def test_an_administrator_prepares_an_empty_server(admin: str, postgres_dsn: str, names: Names, tmp_path: Path) -> None:
    with administrator(postgres_dsn, admin) as url:
        found = kept(tmp_path)
        made = database.make(url, names, found)
        assert [line.split()[0] for line in made] == ["role", "role", "role", "database", "passwords"]
        serves(found.all(URLS), found.all(("AUTH_DB_PASSWORD", "CORE_DB_PASSWORD")))
        assert database.make(url, names, kept(tmp_path)) == []
        member = "SELECT pg_has_role(current_user, %s, 'USAGE')"
        with psycopg.connect(url) as connection:
            is_member = connection.execute(member, (names.role("owner"),)).fetchone()
        assert is_member == (admin == "SUPERUSER",)


def test_nobody_else_gets_into_the_database(postgres_dsn: str, names: Names, tmp_path: Path) -> None:
    database.make(postgres_dsn, names, kept(tmp_path))
    with administrator(postgres_dsn, "NOCREATEDB") as stranger:
        assert row(stranger, "SELECT 1") == (1,)
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            row(on_database(stranger, names.database), "SELECT 1")


def test_psql_runs_what_is_printed_and_a_second_time_too(postgres_dsn: str, names: Names, tmp_path: Path) -> None:
    found = kept(tmp_path)
    with administrator(postgres_dsn, "CREATEDB CREATEROLE") as url:
        passwords = database.kept_passwords(found, names, url)
        for _ in range(2):
            psql(url, server.script(names, passwords))
    serves(found.all(URLS), found.all(("AUTH_DB_PASSWORD", "CORE_DB_PASSWORD")))


def test_psql_takes_passwords_as_variables(postgres_dsn: str, names: Names) -> None:
    words = [word for kind in server.ROLES for word in ("-v", f"{kind}_password=it's\\{kind}")]
    psql(postgres_dsn, server.script(names), *words)
    urls = server.settings(postgres_dsn, names, {kind: f"it's\\{kind}" for kind in server.ROLES})
    assert server.can_sign_in(urls)


def psql(url: str, script: str, *words: str) -> None:
    program = postgres_programs(servers()) / "psql"
    done = subprocess.run(
        [program, url, "-X", "-q", "-v", "ON_ERROR_STOP=1", *words],
        input=script, text=True, capture_output=True, timeout=30, check=False, env={**os.environ, "PGAPPNAME": "test"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_roles_of_another_machine_are_not_taken_over(postgres_dsn: str, names: Names, tmp_path: Path) -> None:
    first, second = kept(tmp_path / "first"), kept(tmp_path / "second")
    database.make(postgres_dsn, names, first)
    with pytest.raises(StackError, match=f"{names.role('owner')}.*passwords are not kept here"):
        database.make(postgres_dsn, names, second)
    assert server.can_sign_in(first.all(URLS))
    database.make(postgres_dsn, names, second, renews=True)
    assert server.can_sign_in(second.all(URLS))
    assert not server.can_sign_in(first.all(URLS))


def test_an_administrator_without_the_rights_is_told_what_is_missing(
    postgres_dsn: str, names: Names, tmp_path: Path
) -> None:
    with (
        administrator(postgres_dsn, "CREATEDB") as url,
        pytest.raises(StackError, match=r"may not: CREATE ROLE .*: permission denied"),
    ):
        database.make(url, names, kept(tmp_path))


def test_secrets_of_another_database_stay(postgres_dsn: str, names: Names, tmp_path: Path) -> None:
    found = kept(tmp_path)
    found.keep("MIGRATE_DATABASE_URL", "postgresql://o:p@db/other")
    with pytest.raises(StackError, match="is for the database other"):
        database.make(postgres_dsn, names, found)


def test_the_command_prepares_tells_and_shows_no_password(
    postgres_dsn: str, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("GATEHOUSE_ENV_FILE", "/nonexistent")
    words = ["database", "--admin-url", "-", "--database-name", names.database]
    done = CliRunner().invoke(command, words, input=f"{postgres_dsn}\n", catch_exceptions=False)
    assert done.exit_code == 0
    assert f"database {names.database} made" in done.output
    values = [(tmp_path / "var" / "secrets" / name).read_text().strip() for name in (*URLS, "AUTH_DB_PASSWORD")]
    assert not [value for value in values if value in done.output]
    printed = CliRunner().invoke(command, [*words[:1], "--print-sql", "--database-name", names.database])
    assert ":'owner_password'" in printed.output
    assert not [value for value in values if value in printed.output]


def test_only_showing_makes_nothing_on_the_server(postgres_dsn: str, names: Names, tmp_path: Path) -> None:
    words = [
        "--directory",
        str(tmp_path),
        "--yes",
        "--dry-run",
        "--domains",
        "a.example.com",
        "--email",
        "a@example.com",
    ]
    words += ["--admin-url", postgres_dsn, "--database-name", names.database]
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert f"database {names.database} and its roles" in done.output
    assert server.existing_roles(postgres_dsn, names) == []
    assert list(tmp_path.iterdir()) == []


def test_a_directory_gets_its_database_made(postgres_dsn: str, names: Names, tmp_path: Path) -> None:
    words = ["--directory", str(tmp_path), "--yes", "--domains", "a.example.com", "--email", "a@example.com"]
    words += ["--admin-url", postgres_dsn, "--database-name", names.database]
    CliRunner().invoke(command, words, catch_exceptions=False)
    found = SecretFiles(Machine(tmp_path), Path("/var/secrets"), {})
    assert server.can_sign_in(found.all(URLS))
    again = CliRunner().invoke(command, ["--directory", str(tmp_path), "--yes"], catch_exceptions=False)
    assert again.exit_code == 0, again.output
    assert "✓" not in again.output


def test_urls_keep_the_options_of_the_administrators() -> None:
    base = "postgresql://root:x@db.example.com:6432/postgres?sslmode=require&user=root"
    urls = server.settings(base, Names("gh"), dict.fromkeys(server.ROLES, "p@ss"))
    assert urls["AUTH_DATABASE_URL"] == "postgresql://gh_auth:p%40ss@db.example.com:6432/gh?sslmode=require"
    assert server.on_database("postgresql:///postgres?host=/run/x", "gh") == "postgresql:///gh?host=%2Frun%2Fx"
