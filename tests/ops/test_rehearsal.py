"""Migrations tried on a copy: what is reported, and that nothing of it stays."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from ops.interrupts import interruptible, undisturbed
from ops.migrate import MigrationFailed, migrate
from ops.migrate.rehearsal import BLOCKS, Lock, rehearse
from tests.ops.stacks import COMMAND, Stack, until

SLOW = "DO $$ BEGIN PERFORM pg_sleep(60); END $$"


def write(folder: Path, revision: str, down: str | None, statement: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    label = None if down else (revision.rpartition("_")[0],)
    (folder / f"{revision}.py").write_text(
        f"from alembic import op\nrevision = {revision!r}\ndown_revision = {down!r}\nbranch_labels = {label!r}\n"
        f"def upgrade(): op.execute({statement!r})\n"
    )


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """A branch whose first migration makes two tables."""
    write(
        tmp_path / "auth", "auth_0001", None, "CREATE TABLE auth.a (id int PRIMARY KEY); CREATE TABLE auth.b (id int)"
    )
    return {"auth": tmp_path / "auth"}


@pytest.fixture
def filled(empty_database_url: str, folders: dict[str, Path]) -> str:
    """A database at the first migration, with rows."""
    migrate(empty_database_url, locations=folders)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("INSERT INTO auth.a SELECT generate_series(1, 1000)")
        connection.execute("INSERT INTO auth.b SELECT generate_series(1, 10)")
    return empty_database_url


def ask(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def copies(url: str) -> list[tuple[object, ...]]:
    return ask(url, "SELECT datname FROM pg_database WHERE datname LIKE current_database() || '_rehearsal_%'")


def add_pending(folders: dict[str, Path]) -> None:
    write(folders["auth"], "auth_0002", "auth_0001", "ALTER TABLE auth.a ADD x int; CREATE TABLE auth.c (id int)")
    write(folders["auth"], "auth_0003", "auth_0002", "CREATE INDEX ON auth.a (x); ALTER TABLE auth.c ADD y int")


def expect_untouched(url: str) -> None:
    assert ask(url, "SELECT version_num FROM gatehouse.alembic_version") == [("auth_0001",)]
    assert ask(url, "SELECT to_regclass('auth.c')") == [(None,)]
    assert ask(url, "SELECT count(*) FROM auth.a") == [(1000,)]
    assert copies(url) == []


def test_each_migration_is_reported_with_the_locks_it_took(filled: str, folders: dict[str, Path]) -> None:
    add_pending(folders)
    with psycopg.connect(filled) as connection:
        connection.execute("ANALYZE auth.a")
    rehearsal = rehearse(filled, locations=folders)
    assert rehearsal.copied_by == "template"
    assert rehearsal.failure is None
    assert rehearsal.copy_bytes > 1_000_000
    first, second = rehearsal.migrations
    assert (first.revision, second.revision) == ("auth_0002", "auth_0003")
    assert first.locks == (Lock("auth.a", "AccessExclusiveLock", "reads and writes", 1000),)
    # auth.c was not there before the first, and is there before the second.
    assert [(lock.table, lock.blocks) for lock in second.locks] == [
        ("auth.a", "writes"),
        ("auth.c", "reads and writes"),
    ]
    expect_untouched(filled)


def test_database_in_use_is_copied_without_disturbing_anybody(filled: str, folders: dict[str, Path]) -> None:
    add_pending(folders)
    with psycopg.connect(filled) as somebody:
        somebody.execute("INSERT INTO auth.b VALUES (11)")  # and holds the lock of an ordinary writer
        rehearsal = rehearse(filled, locations=folders)
        somebody.commit()
    assert rehearsal.copied_by == "dump"
    assert [migration.revision for migration in rehearsal.migrations] == ["auth_0002", "auth_0003"]
    expect_untouched(filled)
    assert ask(filled, "SELECT count(*) FROM auth.b") == [(11,)]


@pytest.fixture
def humble_owner(filled: str, postgres_dsn: str) -> Iterator[str]:
    """The URL of the database for an owner who may not make databases."""
    name, database = f"humble_{os.getpid()}", urlsplit(filled).path.strip("/")
    role, where = sql.Identifier(name), sql.Identifier(database)
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'humble'").format(role))
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(where, role))
        for schema in ("auth", "core", "gatehouse"):
            connection.execute(sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(sql.Identifier(schema), role))
        for table in ("auth.a", "auth.b", "gatehouse.alembic_version"):
            connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier(*table.split(".")), role))
    parts = urlsplit(filled)
    yield parts._replace(netloc=f"{name}:humble@{parts.netloc.rpartition('@')[2]}").geturl()
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(role))
        connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
        connection.execute(sql.SQL("DROP ROLE {}").format(role))


def test_owner_who_may_make_no_database_gets_the_copy_elsewhere(
    humble_owner: str, filled: str, folders: dict[str, Path]
) -> None:
    add_pending(folders)
    rehearsal = rehearse(humble_owner, locations=folders)
    assert rehearsal.copied_by == "dump into an embedded server"
    assert [len(migration.locks) for migration in rehearsal.migrations] == [1, 2]
    expect_untouched(filled)


def test_failing_migration_is_found_and_leaves_nothing(filled: str, folders: dict[str, Path]) -> None:
    write(folders["auth"], "auth_0002", "auth_0001", "ALTER TABLE auth.a ADD x int NOT NULL")
    rehearsal = rehearse(filled, locations=folders)
    assert rehearsal.failure is not None
    assert rehearsal.failure.startswith("migration auth_0002 failed: ")
    assert rehearsal.migrations == []
    expect_untouched(filled)


def test_unreachable_database_is_one_sentence() -> None:
    with pytest.raises(MigrationFailed, match="the database cannot be reached: "):
        rehearse("postgresql://nobody@127.0.0.1:1/none")


def test_every_lock_mode_says_whom_it_blocks(filled: str) -> None:
    with psycopg.connect(filled) as connection:
        for mode in BLOCKS:
            words = mode.removesuffix("Lock")
            spaced = "".join(f" {letter}" if letter.isupper() else letter for letter in words).strip().upper()
            connection.execute(f"LOCK TABLE auth.a IN {spaced} MODE")  # type: ignore[arg-type]
        query = "SELECT mode FROM pg_locks WHERE relation = 'auth.a'::regclass AND pid = pg_backend_pid()"
        assert {mode for (mode,) in connection.execute(query)} == set(BLOCKS)


@pytest.fixture
def slow_module(tmp_path: Path) -> Path:
    """A directory to import from, with a module `outside.slow` whose migration takes a minute."""
    package = tmp_path / "path" / "outside" / "slow"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text('"""Of the test."""\n')
    write(package / "migrations", "slow_0001", None, SLOW)
    return tmp_path / "path"


def environ(var: Path, url: str, **more: str) -> dict[str, str]:
    return Stack(var, DATABASE_URL=url, **more).environ


def test_interrupt_removes_the_copy(database_url: str, slow_module: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "migrate", "--rehearse"],
        env=environ(tmp_path / "var", database_url, MODULES="outside.slow", PYTHONPATH=str(slow_module)),
        stderr=subprocess.PIPE,
        text=True,
    )
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND datname LIKE '%_rehearsal_%'"
    assert until(lambda: ask(database_url, sleeping), 30)
    assert copies(database_url)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (
        1,
        "error: interrupted: the copy is removed, the database is as it was\n",
    )
    assert copies(database_url) == []


def test_command_answers_json(empty_database_url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "migrate", "--rehearse", "--json"],
        env=environ(tmp_path / "var", empty_database_url),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told = json.loads(done.stdout)
    assert {"auth_0001", "core_0001"} <= {migration["revision"] for migration in told["migrations"]}
    assert told["failure"] is None
    assert ask(empty_database_url, "SELECT count(*) FROM pg_namespace WHERE nspname IN ('auth', 'core')") == [(0,)]


def test_being_told_to_stop_is_an_interrupt_and_cleaning_up_is_not_interrupted() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        with pytest.raises(KeyboardInterrupt), interruptible():
            signal.raise_signal(number)
    with undisturbed():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
