"""The runner of migrations, over folders made for the test and a real database."""

import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from ops.migrate import MigrationFailed, create_roles, downgrade, migrate, shipped_locations

PASSWORDS = {"AUTH_DB_PASSWORD": "a-password", "CORE_DB_PASSWORD": "c:pass/word@1"}


def write(folder: Path, revision: str, *, down: str | None, up_sql: str, down_sql: str = "SELECT 1") -> None:
    """One migration file; the first of a branch carries the branch's label."""
    folder.mkdir(parents=True, exist_ok=True)
    label = None if down else (revision.rpartition("_")[0],)
    lines = [
        "from alembic import op",
        f"revision = {revision!r}",
        f"down_revision = {down!r}",
        f"branch_labels = {label!r}",
    ]
    lines += [f"def upgrade(): op.execute({up_sql!r})", f"def downgrade(): op.execute({down_sql!r})"]
    (folder / f"{revision}.py").write_text("\n".join(lines) + "\n")


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """auth with two migrations, the module expenses with one."""
    write(
        tmp_path / "auth", "auth_0001", down=None, up_sql="CREATE TABLE auth.a (id int)", down_sql="DROP TABLE auth.a"
    )
    write(
        tmp_path / "auth",
        "auth_0002",
        down="auth_0001",
        up_sql="ALTER TABLE auth.a ADD b int; INSERT INTO auth.a VALUES (1, 2)",
        down_sql="ALTER TABLE auth.a DROP b",
    )
    write(
        tmp_path / "expenses",
        "expenses_0001",
        down=None,
        up_sql="CREATE TABLE core.e (id int)",
        down_sql="DROP TABLE core.e",
    )
    return {"auth": tmp_path / "auth", "expenses": tmp_path / "expenses"}


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def recorded(url: str) -> set[object]:
    return {row[0] for row in rows(url, "SELECT version_num FROM gatehouse.alembic_version")}


def test_every_branch_is_upgraded_once_and_a_second_run_does_nothing(
    empty_database_url: str, folders: dict[str, Path]
) -> None:
    assert sorted(migrate(empty_database_url, locations=folders)) == ["auth_0001", "auth_0002", "expenses_0001"]
    assert migrate(empty_database_url, locations=folders) == []
    assert recorded(empty_database_url) == {"auth_0002", "expenses_0001"}
    assert rows(empty_database_url, "SELECT * FROM auth.a") == [(1, 2)]


def test_a_disabled_module_is_neither_made_nor_lost(empty_database_url: str, folders: dict[str, Path]) -> None:
    assert migrate(empty_database_url, modules=[], locations=folders) == ["auth_0001", "auth_0002"]
    assert migrate(empty_database_url, modules=["expenses"], locations=folders) == ["expenses_0001"]
    assert migrate(empty_database_url, modules=[], locations=folders) == []
    assert rows(empty_database_url, "SELECT * FROM core.e") == []


def test_revisions_whose_files_are_gone_are_left_alone(empty_database_url: str, folders: dict[str, Path]) -> None:
    migrate(empty_database_url, locations=folders)
    without = {"auth": folders["auth"]}
    write(folders["auth"], "auth_0003", down="auth_0002", up_sql="CREATE TABLE auth.c ()", down_sql="DROP TABLE auth.c")
    assert migrate(empty_database_url, locations=without) == ["auth_0003"]
    assert downgrade(empty_database_url, "auth", locations=without) == ["auth_0003", "auth_0002", "auth_0001"]
    assert recorded(empty_database_url) == {"expenses_0001"}
    assert rows(empty_database_url, "SELECT * FROM core.e") == []


def test_a_branch_goes_down_and_up_again(empty_database_url: str, folders: dict[str, Path]) -> None:
    migrate(empty_database_url, locations=folders)
    assert downgrade(empty_database_url, "auth", to="auth_0001", locations=folders) == ["auth_0002"]
    assert downgrade(empty_database_url, "auth", locations=folders) == ["auth_0001"]
    assert recorded(empty_database_url) == {"expenses_0001"}
    assert rows(empty_database_url, "SELECT to_regclass('auth.a')") == [(None,)]
    assert migrate(empty_database_url, locations=folders) == ["auth_0001", "auth_0002"]


def test_a_failing_migration_leaves_no_trace_and_is_named_in_one_sentence(
    empty_database_url: str, folders: dict[str, Path]
) -> None:
    bad = "CREATE TABLE auth.half (); SELECT * FROM auth.missing"
    write(folders["auth"], "auth_0003", down="auth_0002", up_sql=bad)
    with pytest.raises(MigrationFailed) as failure:
        migrate(empty_database_url, modules=[], locations=folders)
    assert str(failure.value) == 'migration auth_0003 failed: relation "auth.missing" does not exist'
    assert recorded(empty_database_url) == {"auth_0002"}
    assert rows(empty_database_url, "SELECT to_regclass('auth.half')") == [(None,)]


def test_a_migration_that_cannot_get_its_table_gives_up(empty_database_url: str, folders: dict[str, Path]) -> None:
    migrate(empty_database_url, locations=folders)
    write(folders["auth"], "auth_0003", down="auth_0002", up_sql="ALTER TABLE auth.a ADD c int")
    with psycopg.connect(empty_database_url) as reader:
        reader.execute("SELECT * FROM auth.a")
        with pytest.raises(MigrationFailed, match=r"^migration auth_0003 failed: .* lock timeout$"):
            migrate(empty_database_url, locations=folders, lock_timeout="50ms")


def test_a_statement_that_takes_too_long_is_stopped(empty_database_url: str, folders: dict[str, Path]) -> None:
    write(folders["auth"], "auth_0003", down="auth_0002", up_sql="SELECT pg_sleep(60)")
    with pytest.raises(MigrationFailed, match=r"^migration auth_0003 failed: .* statement timeout$"):
        migrate(empty_database_url, locations=folders, statement_timeout="200ms")


def test_a_file_that_is_no_python_is_one_sentence(empty_database_url: str, folders: dict[str, Path]) -> None:
    (folders["auth"] / "auth_0003.py").write_text("revision = (")
    with pytest.raises(MigrationFailed, match=r"^the migrations cannot be planned: "):
        migrate(empty_database_url, locations=folders)


def test_two_starters_at_once_apply_everything_exactly_once(empty_database_url: str, folders: dict[str, Path]) -> None:
    slow = "SELECT pg_sleep(0.3); CREATE TABLE auth.slow ()"
    write(folders["auth"], "auth_0003", down="auth_0002", up_sql=slow)
    outcomes: list[list[str]] = []
    together = threading.Barrier(2)

    def starter() -> None:
        together.wait(10)
        outcomes.append(migrate(empty_database_url, locations=folders))

    threads = [threading.Thread(target=starter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(map(len, outcomes)) == [0, 4]


def test_a_starter_waits_only_so_long_for_another(empty_database_url: str, folders: dict[str, Path]) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", (0x6761_7465_686F_7573,))
        with pytest.raises(MigrationFailed, match="another migration of this database has been running"):
            migrate(empty_database_url, locations=folders, lock_seconds=0.2)


def test_an_unreachable_database_is_one_sentence_without_the_password() -> None:
    with pytest.raises(MigrationFailed) as failure:
        migrate("postgresql://someone:hidden@127.0.0.1:1/none")
    assert str(failure.value) == "the database at 127.0.0.1:1 cannot be reached: Connection refused"


def test_a_wrong_password_is_one_sentence_without_it(postgres_dsn: str) -> None:
    address = postgres_dsn.rpartition("@")[2]
    with pytest.raises(MigrationFailed) as failure:
        migrate(f"postgresql://postgres:hidden@{address}")
    message = str(failure.value)
    assert message.endswith('password authentication failed for user "postgres"')
    assert "hidden" not in message
    assert "\n" not in message


@pytest.mark.parametrize("first", ["roles", "migrations"])
def test_each_service_may_change_rows_of_its_own_schema_only(
    empty_database_url: str, folders: dict[str, Path], first: str
) -> None:
    if first == "migrations":
        migrate(empty_database_url, locations=folders)
    urls = create_roles(empty_database_url, PASSWORDS, prefix="test")
    migrate(empty_database_url, locations=folders)
    with psycopg.connect(urls["AUTH_DATABASE_URL"], autocommit=True) as auth:
        auth.execute("INSERT INTO auth.a VALUES (3, 4)")
        assert auth.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)
        for refused in ("SELECT * FROM core.e", "CREATE TABLE auth.mine ()", "DROP TABLE auth.a", "CREATE SCHEMA mine"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                auth.execute(refused)
    with psycopg.connect(urls["CORE_DATABASE_URL"], autocommit=True) as core:
        core.execute("DELETE FROM core.e")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            core.execute("SELECT * FROM auth.a")


def test_roles_are_repeatable_and_take_a_new_password(empty_database_url: str) -> None:
    old = create_roles(empty_database_url, PASSWORDS, prefix="test")
    new = create_roles(empty_database_url, PASSWORDS | {"AUTH_DB_PASSWORD": "another"}, prefix="test")
    psycopg.connect(new["AUTH_DATABASE_URL"]).close()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(old["AUTH_DATABASE_URL"])


def test_an_owner_without_the_right_to_create_roles_is_told_so(empty_database_url: str) -> None:
    urls = create_roles(empty_database_url, PASSWORDS, prefix="test")
    with pytest.raises(MigrationFailed, match=r"^role other_auth cannot be set up: permission denied"):
        create_roles(urls["AUTH_DATABASE_URL"], PASSWORDS, prefix="other")


def test_a_test_database_is_migrated_and_its_own(database_url: str) -> None:
    assert rows(database_url, "SELECT nspname FROM pg_namespace WHERE nspname IN ('auth', 'core') ORDER BY 1") == [
        ("auth",),
        ("core",),
    ]


def test_a_third_party_module_brings_its_own_migrations(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "acme_for_tests" / "billing"
    up = "CREATE TABLE core.b ()"
    write(package / "migrations", "billing_0001", down=None, up_sql=up, down_sql="DROP TABLE core.b")
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert "billing_0001" in migrate(empty_database_url, modules=["acme_for_tests.billing"])
    assert migrate(empty_database_url, modules=[]) == []
    assert rows(empty_database_url, "SELECT * FROM core.b") == []


def test_every_shipped_module_is_found_enabled_or_not_and_a_missing_package_is_not() -> None:
    found = shipped_locations(["nowhere.billing"])
    assert found == shipped_locations()
    assert all(folder.name == "migrations" and folder.is_dir() for folder in found.values())


def test_a_folder_that_is_no_package_holds_no_migrations(tmp_path: Path) -> None:
    """Nor is it looked into: a `__pycache__` may be closed to whoever migrates."""
    for folder in ("good", "__pycache__"):
        (tmp_path / "core_service" / "modules" / folder / "migrations").mkdir(parents=True)
    for package in (".", "modules", "modules/good"):
        (tmp_path / "core_service" / package / "__init__.py").touch()
    program = "from ops.migrate.locations import shipped_locations; print(*shipped_locations())"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["auth", "good"]
