"""Point-in-time recovery for real, with the steps of docs/backup.md: back to the moment before a bad DELETE."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ops.backup import tools
from ops.embedded import Postgres, postgres_programs
from ops.embedded.account import give
from tests.architecture.sources import ROOT
from tests.ops.stacks import until
from tests.servers import CLUSTER_SECRETS, servers, state_directory

FILES = ROOT / "ops" / "postgres"
WITHOUT_DIRECTORY = "/var/lib/postgresql/wal-archive"
INSTALLED = "/opt/gatehouse/current/ops/postgres"


@pytest.fixture
def place() -> Iterator[Path]:
    """Where a server that root started can reach everything."""
    with state_directory() as var:
        yield var.parent


def settings(place: Path) -> dict[str, str]:
    """Those of archive.conf, at the places of this test."""
    lines = [line for line in (FILES / "archive.conf").read_text().splitlines() if line and not line.startswith("#")]
    found = dict(line.split(" = ", 1) for line in lines)
    moved = {name: value.strip("'").replace(INSTALLED, str(place)) for name, value in found.items()}
    return {name: value.replace(WITHOUT_DIRECTORY, str(place / "wal")) for name, value in moved.items()}


def configure(url: str, values: dict[str, str]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for name, value in values.items():
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value))


def server(var: Path) -> Postgres:
    return Postgres(var, CLUSTER_SECRETS, servers=servers(), durable=False)


def test_the_database_goes_back_to_the_moment_before_a_bad_delete(place: Path) -> None:
    shutil.copy(FILES / "archive-wal", place / "archive-wal")
    (place / "wal").mkdir(mode=0o700)
    before = server(place / "before")
    with before:
        configure(before.url, settings(place))
    give(place / "wal", before.owner)
    with before:
        base = place / "base"
        words = [postgres_programs(servers()) / "pg_basebackup", f"--pgdata={base}", "--checkpoint=fast"]
        subprocess.run([*words, "--wal-method=none", "--no-sync"], env=tools.environment(before.url), check=True)
        moment = live_on(before.url)
    assert any((place / "wal").iterdir())

    shutil.rmtree(before.data)  # the machine is lost: base backup and archive are what is left
    after = server(place / "after")
    after.data.parent.mkdir(parents=True)
    base.rename(after.data)
    (after.data / "recovery.signal").touch()
    with (after.data / "postgresql.auto.conf").open("a") as file:
        file.write(f'restore_command = \'cp "{place}/wal/%f" "%p"\'\narchive_mode = off\n')
        file.write(f"recovery_target_time = '{moment}'\nrecovery_target_action = 'promote'\n")
    with after, psycopg.connect(after.url, autocommit=True) as connection:
        assert until(lambda: connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,), 30)
        assert connection.execute("SELECT count(*), min(at) < %s FROM kept", (moment,)).fetchone() == (1000, True)
        connection.execute("INSERT INTO kept VALUES (1001)")


def live_on(url: str) -> str:
    """Rows, a moment, and the DELETE after it; returns the moment when all of it is in the archive."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (id integer, at timestamptz DEFAULT clock_timestamp())")
        connection.execute("INSERT INTO kept SELECT n FROM generate_series(1, 1000) AS n")
        row = connection.execute("SELECT clock_timestamp()::text, pg_sleep(0.01)").fetchone()
        assert row
        connection.execute("DELETE FROM kept WHERE id > 3")
        last = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
        archived = "SELECT last_archived_wal >= %s FROM pg_stat_archiver"
        assert until(lambda: connection.execute(archived, last).fetchone() == (True,), 30)
        return str(row[0])
