"""The files that guides name: open to plain psql, gunzip and tar, and held to the same rules as the archive."""

import gzip
import json
import os
import stat
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import psycopg
import pytest

from ops import backup
from ops.backup import guides, tools
from tests.ops.backup.conftest import EXPENSES

Environ = dict[str, str]


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def test_the_dump_restores_into_an_empty_database_with_psql(reading: Environ, empty_database_url: str) -> None:
    made = guides.create(environ=reading, only=["database"])
    assert guides._OURS.fullmatch(made.path.name)
    assert made.path.name.startswith("db_backup_")
    words = [tools.newest() / "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
    with gzip.open(made.path) as dump:
        subprocess.run(words, input=dump.read(), env=tools.environment(empty_database_url), check=True)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT count(*) FROM auth.login_events").fetchone() == (EXPENSES,)


def test_every_part_has_its_file_and_is_for_its_owner_only(reading: Environ, directory: Path) -> None:
    made = guides.create(environ=reading)
    found = names(directory)
    kinds = [".env.backup", "app_backup_", "backup-certs-", "backup-logs-", "backup-secrets-", "db_backup_"]
    assert [name for name, kind in zip(found, kinds, strict=True) if not name.startswith(kind)] == []
    assert {stat.S_IMODE((directory / name).stat().st_mode) for name in found} == {0o600}
    assert sum(made.rows.values()) >= EXPENSES
    with tarfile.open(directory / found[1]) as tar:
        assert {
            "gatehouse/pyproject.toml",
            "gatehouse/edge/app.py",
            "gatehouse/requirements.lock",
            "gatehouse/.env",
        } <= set(tar.getnames())
        assert not [name for name in tar.getnames() if "/.venv/" in name or "/.git/" in name]
    with tarfile.open(directory / found[2]) as tar:
        assert tar.getnames() == ["certificates/live/api.pem"]


def test_the_release_that_is_unpacked_starts(placed: Environ, tmp_path: Path) -> None:
    """With what it depends on installed, as it is for us: its own code reads its own settings and route table."""
    Path(placed["GATEHOUSE_ENV_FILE"]).write_text("EDGE_PORT=18999\n")
    made = guides.create(environ=placed, only=["configuration"])
    archive = next(made.path.parent.glob("app_backup_*"))
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    release = tmp_path / "gatehouse"
    (release / "edge" / "routes.toml").write_text("[")
    own = {name: value for name, value in os.environ.items() if not name.endswith("_PORT")}
    environ = {**own, "GATEHOUSE_VAR": placed["GATEHOUSE_VAR"], "GATEHOUSE_ENV_FILE": str(release / ".env")}

    def check() -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "edge", "check"]
        return subprocess.run(words, cwd=release, env=environ, capture_output=True, text=True, timeout=30, check=False)

    assert str(release / "edge" / "routes.toml") in check().stderr
    with tarfile.open(archive) as tar:
        tar.extract("gatehouse/edge/routes.toml", tmp_path, filter="data")
    checked = check()
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["listen"][0]["port"] == 18999


def test_a_second_one_of_a_day_takes_the_place_of_the_first(placed: Environ, directory: Path) -> None:
    for _ in range(2):
        guides.create(environ=placed, only=["certificates", "secrets"])
    assert len(names(directory)) == 2


def test_old_ones_go_and_the_last_of_each_kind_stays(reading: Environ, directory: Path) -> None:
    directory.mkdir()
    old = ["db_backup_20250101_020000.sql.gz", "db_backup_20250102_020000.sql.gz", "backup-certs-20250101.tar.gz"]
    for name in [*old, "db_backup_mine.sql.gz"]:
        (directory / name).write_bytes(b"old")
        os.utime(directory / name, (time.time() - 8 * 86_400,) * 2)
    made = guides.create(environ=reading, only=["database"])
    assert sorted(path.name for path in made.removed) == old[:2]
    assert names(directory) == sorted([made.path.name, old[2], "db_backup_mine.sql.gz"])


def test_a_failure_removes_nothing(placed: Environ, directory: Path) -> None:
    directory.mkdir()
    (directory / "db_backup_20250101_020000.sql.gz").write_bytes(b"old")
    os.utime(directory / "db_backup_20250101_020000.sql.gz", (0, 0))
    with pytest.raises(backup.BackupFailed, match="cannot be reached"):
        guides.create(environ=placed | {"DATABASE_URL": "postgresql://a:b@127.0.0.1:9/x"}, only=["database"])
    assert names(directory) == ["db_backup_20250101_020000.sql.gz"]


def test_a_passphrase_closes_each_file(reading: Environ, directory: Path) -> None:
    guides.create(environ=reading | {"BACKUP_PASSPHRASE": "a passphrase of some length"}, only=["database", "secrets"])
    assert all(name.endswith(".gz.age") for name in names(directory))
    assert all((directory / name).read_bytes().startswith(b"age-encryption.org/v1") for name in names(directory))
