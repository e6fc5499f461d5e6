"""A backup is whole and read back, or it is not there; old ones go only after a new one is."""

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
from psycopg import sql

from auth_service.signing.keys import Vault
from ops import backup
from ops.backup import files, record, tools, turns
from ops.backup.errors import BackupFailed
from ops.stack.place import Place
from tests.ops.backup.conftest import EXPENSES

DAY = 86_400
PASSPHRASE = "a passphrase of some length"

Environ = dict[str, str]


def place(environ: Environ) -> Place:
    return Place(Path(environ["GATEHOUSE_VAR"]))


def names(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def left(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def age_by(path: Path, days: float) -> Path:
    then = time.time() - days * DAY
    os.utime(path, (then, then))
    return path


def test_an_archive_holds_everything_and_says_what(reading: Environ) -> None:
    made = backup.create(environ=reading)
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    held = names(made.path)
    for name in ("database/00000", "configuration/env", "certificates/live/api.pem", "logs/edge.log", "logs/old/a.gz"):
        assert name in held
    assert {"secrets/SECRET_KEY", "secrets/KEY_PEPPER", "configuration/limits.toml"} <= set(held)
    assert "configuration/routes/routes.toml" in held
    assert held[-1] == "manifest.json"
    manifest = backup.verify(made.path, None)
    assert manifest.database
    assert sum(rows for table, rows in manifest.database.rows.items() if "login_events" in table) == EXPENSES
    assert manifest.database.heads
    assert manifest.version == made.version
    with tarfile.open(made.path) as tar:
        secret = tar.extractfile("secrets/SECRET_KEY")
        assert secret
        assert secret.read() == (place(reading).var / "secrets" / "SECRET_KEY").read_bytes()


def test_the_dump_is_what_postgresqls_own_program_reads(reading: Environ) -> None:
    made = backup.create(environ=reading, only=["database"])
    with tarfile.open(made.path) as tar:
        pieces = [tar.extractfile(name) for name in tar.getnames() if name.startswith("database/")]
        dump = b"".join(piece.read() for piece in pieces if piece)
    listed = subprocess.run([tools.newest() / "pg_restore", "--list"], input=dump, capture_output=True, check=True)
    assert b"TABLE DATA auth login_events_default" in listed.stdout


@pytest.mark.parametrize("part", backup.PARTS)
def test_each_part_can_be_backed_up_alone(reading: Environ, part: str) -> None:
    made = backup.create(environ=reading, only=[part])
    assert part in made.path.name
    held = names(made.path)
    assert len(held) > 1
    assert {name.partition("/")[0] for name in held} == {part, "manifest.json"}


def test_a_large_database_is_kept_in_pieces(reading: Environ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.backup.database.PIECE_BYTES", 10_000)
    made = backup.create(environ=reading, only=["database"])
    assert len(names(made.path)) > 3
    assert backup.verify(made.path, None).database


def test_an_encrypted_archive_shows_nothing_without_its_passphrase(reading: Environ) -> None:
    reading["BACKUP_PASSPHRASE"] = PASSPHRASE
    made = backup.create(environ=reading)
    assert made.path.name.endswith(".tar.gz.age")
    assert made.is_encrypted
    assert made.path.read_bytes().startswith(b"age-encryption.org/v1\n-> scrypt ")
    assert backup.verify(made.path, PASSPHRASE).database
    for wrong, said in ((None, "set BACKUP_PASSPHRASE"), ("another passphrase", "does not open")):
        with pytest.raises(BackupFailed, match=said):
            backup.verify(made.path, wrong)


def test_the_passphrase_travels_only_in_what_it_closes(placed: Environ) -> None:
    kept = place(placed).var / "secrets" / "BACKUP_PASSPHRASE"
    kept.write_text(PASSPHRASE)
    made = backup.create(environ=placed, only=["secrets"])
    assert "secrets/BACKUP_PASSPHRASE" in [member.name for member in backup.verify(made.path, PASSPHRASE).members]
    kept.unlink()
    made = backup.create(environ={**placed, "KEY_PEPPER": "x" * 40}, only=["secrets"])
    assert "secrets/BACKUP_PASSPHRASE" not in names(made.path)


def test_secrets_are_those_the_stack_runs_with(placed: Environ) -> None:
    made = backup.create(environ={**placed, "KEY_PEPPER": "p" * 40}, only=["secrets"])
    with tarfile.open(made.path) as tar:
        pepper = tar.extractfile("secrets/KEY_PEPPER")
        assert pepper
        assert pepper.read() == b"p" * 40 + b"\n"


def test_secrets_that_do_not_fit_the_data_are_no_backup(environ: Environ, directory: Path, database_url: str) -> None:
    """As from a shell that lacks the settings of the stack and finds an old file."""
    secret = (place(environ).var / "secrets" / "SECRET_KEY").read_text().strip()
    public, encrypted = Vault(secret).make()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO auth.signing_keys (kid, public_key, encrypted_private, state) VALUES (%s, %s, %s, 'signing')",
            (public.kid, public.raw, encrypted),
        )
    assert backup.create(environ=environ).path.exists()
    with pytest.raises(BackupFailed, match="SECRET_KEY, as it is set here, does not open the signing keys"):
        backup.create(environ={**environ, "SECRET_KEY": "another" * 6})
    assert len(left(directory)) == 1


def test_a_certificate_that_is_a_link_is_backed_up(placed: Environ, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.pem").write_text("linked")
    (place(placed).var / "certs" / "linked.pem").symlink_to(tmp_path / "elsewhere.pem")
    made = backup.create(environ=placed, only=["certificates"])
    with tarfile.open(made.path) as tar:
        content = tar.extractfile("certificates/linked.pem")
        assert content
        assert content.read() == b"linked"


def test_a_secret_that_becomes_shorter_meanwhile_is_a_failure_that_is_told(
    placed: Environ, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = place(placed).var / "certs" / "live" / "api.pem"
    known = os.fstat

    def longer(handle: int) -> os.stat_result:
        found = known(handle)
        is_it = found.st_ino == certificate.stat().st_ino
        return os.stat_result([*found[:6], found.st_size + 1, *found[7:]]) if is_it else found

    monkeypatch.setattr("ops.backup.parts.os.fstat", longer)
    with pytest.raises(BackupFailed, match=r"api\.pem changed while it was read: try again"):
        backup.create(environ=placed, only=["certificates"])
    assert left(directory) == []
    assert "api.pem" in record.read(place(placed))["last_failure"]["error"]


def test_a_secret_in_a_file_that_is_not_there_is_a_failure_that_is_told(placed: Environ) -> None:
    with pytest.raises(BackupFailed, match="KEY_PEPPER_FILE"):
        backup.create(environ={**placed, "KEY_PEPPER_FILE": "/nowhere/pepper"}, only=["secrets"])
    assert "KEY_PEPPER_FILE" in record.read(place(placed))["last_failure"]["error"]


def test_there_is_no_backup_while_a_restore_is_under_way(placed: Environ, directory: Path) -> None:
    place(placed).prepare()
    with turns.restoring(place(placed)), pytest.raises(BackupFailed, match="is under way: back up when it is done"):
        backup.create(environ=placed)
    assert not directory.exists()
    with turns.backing_up(place(placed)):
        assert backup.create(environ=placed, only=["secrets"]).path.exists()


def test_a_server_that_ends_idle_transactions_does_not_end_a_backup(environ: Environ, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} SET idle_in_transaction_session_timeout = 1").format(name))
    made = backup.create(environ=environ, only=["database"], progress=lambda *_: time.sleep(0.01))
    assert sum(made.rows.values()) >= EXPENSES


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it acts for somebody else")
def test_what_root_makes_belongs_to_the_stacks_user(placed: Environ) -> None:
    var = place(placed).var
    place(placed).prepare()
    for folder in (var, var / "run"):
        os.chown(folder, 12345, 12345)
    backup_directory = var / "backups"
    made = backup.create(environ={**placed, "BACKUP_DIRECTORY": str(backup_directory)}, only=["secrets"])
    paths = [made.path, backup_directory, *(var / "run" / name for name in ("backups.json", "backups.lock"))]
    assert {path.stat().st_uid for path in paths} == {12345}


def test_a_backup_without_the_pepper_is_refused(reading: Environ, directory: Path) -> None:
    (place(reading).var / "secrets" / "KEY_PEPPER").unlink()
    with pytest.raises(BackupFailed, match="KEY_PEPPER cannot be found"):
        backup.create(environ=reading)
    assert left(directory) == []


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"BACKUP_RETENTION_DAYS": "soon"}, "BACKUP_RETENTION_DAYS: must be a number"),
        ({"BACKUP_PASSPHRASE": "short"}, "BACKUP_PASSPHRASE: must have 12 characters"),
        ({"BACKUP_DIRECTORY": "/proc/nowhere"}, "/proc/nowhere cannot be written"),
        ({"DATABASE_URL": "postgresql://a:b@127.0.0.1:9/x"}, "the database cannot be reached: .*refused"),
    ],
)
def test_a_failure_is_one_sentence_and_is_recorded(placed: Environ, setting: Environ, said: str) -> None:
    with pytest.raises(BackupFailed, match=said):
        backup.create(environ={**placed, **setting})
    failure = record.read(place(placed))["last_failure"]
    assert failure["error"]
    assert "\n" not in failure["error"]


def test_a_failing_dump_deletes_nothing_leaves_nothing_and_alerts(
    environ: Environ, directory: Path, tmp_path: Path, database_url: str
) -> None:
    old = age_by(backup.create(environ=environ).path, 30)
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ncat > {tmp_path}/alert\n")
    hook.chmod(0o700)
    with psycopg.connect(database_url, autocommit=True) as connection:
        # pg_dump reads every row of it and meets this one's error.
        connection.execute("CREATE VIEW core.gone AS SELECT 1 AS a")
        connection.execute("UPDATE pg_class SET relkind = 'r' WHERE oid = 'core.gone'::regclass")
    with pytest.raises(BackupFailed):
        backup.create(environ={**environ, "ALERT_HOOK": str(hook)})
    assert left(directory) == [old.name]
    told = json.loads((tmp_path / "alert").read_text())
    assert told["subject"] == "backup failed"
    assert told["detail"] == record.read(place(environ))["last_failure"]["error"]


def test_a_full_disk_leaves_no_partial_file(reading: Environ, directory: Path) -> None:
    script = (
        "import os, resource, signal, sys\n"
        "from ops import backup\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "try:\n    backup.create()\nexcept backup.BackupFailed as error:\n    sys.exit(str(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **reading},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"{directory} is full" in done.stderr
    assert left(directory) == []


def test_what_a_killed_backup_left_is_removed_by_the_next(placed: Environ, directory: Path) -> None:
    directory.mkdir()
    (directory / ".gatehouse-partial-0123456789abcdef").write_bytes(b"half")
    made = backup.create(environ=placed, only=["secrets"])
    assert left(directory) == [made.path.name]


def test_a_file_that_another_backup_writes_is_left_alone(placed: Environ, directory: Path) -> None:
    with files.made(directory, "gatehouse-20250101T000000Z.tar.gz", lambda _: None) as (file, finish):
        file.write(b"begun")
        file.flush()
        backup.create(environ=placed, only=["secrets"])
        assert finish().read_bytes() == b"begun"


def test_two_backups_of_one_second_have_two_names(directory: Path) -> None:
    paths = []
    for _ in range(2):
        with files.made(directory, "gatehouse-20250101T000000Z.tar.gz", lambda _: None) as (_, finish):
            paths.append(finish())
    assert [path.name for path in paths] == ["gatehouse-20250101T000000Z.tar.gz", "gatehouse-20250101T000000Z.2.tar.gz"]
    assert all(files.recognised(path) for path in paths)


def test_old_ones_go_and_younger_ones_and_foreign_files_stay(reading: Environ, directory: Path) -> None:
    eight, six = (backup.create(environ=reading).path for _ in range(2))
    age_by(eight, 8)
    age_by(six, 6)
    foreign = [directory / name for name in ("notes.tar.gz", "gatehouse-copy.tar.gz", "gatehouse-20250101T000000Z.zip")]
    for path in foreign:
        path.write_bytes(b"mine")
        age_by(path, 100)
    made = backup.create(environ=reading)
    assert made.removed == (eight,)
    assert left(directory) == sorted([six.name, made.path.name, *(path.name for path in foreign)])
    assert [entry["name"] for entry in record.read(place(reading))["backups"]] == [made.path.name, six.name]


def test_the_last_good_one_of_each_part_stays_however_old(reading: Environ, directory: Path) -> None:
    older, old = (backup.create(environ=reading).path for _ in range(2))
    age_by(older, 90)
    age_by(old, 80)
    made = backup.create(environ=reading, only=["logs"])
    assert made.removed == (older,)
    assert left(directory) == sorted([old.name, made.path.name])


def test_a_newer_one_that_is_damaged_or_cannot_be_opened_keeps_no_older_one_from_staying(
    reading: Environ, directory: Path
) -> None:
    """The last good one is not the last by its name: here a copy of a night to come that was cut short."""
    good = age_by(backup.create(environ=reading).path, 30)
    damaged = directory / "gatehouse-20990101T000000Z.tar.gz"
    damaged.write_bytes(good.read_bytes()[:-20])
    closed = directory / "gatehouse-20980101T000000Z.tar.gz.age"
    closed.write_bytes(b"age-encryption.org/v1\nby somebody")
    for path in (damaged, closed):
        age_by(path, 20)
    made = backup.create(environ=reading, only=["logs"])
    assert set(made.removed) == {damaged, closed}
    assert left(directory) == sorted([good.name, made.path.name])


def test_what_was_just_made_stays_whatever_the_clock_says(placed: Environ, directory: Path) -> None:
    ahead = directory / "gatehouse-20990101T000000Z.tar.gz"
    first = backup.create(environ=placed, only=["secrets"]).path
    first.rename(ahead)
    made = backup.create(environ=placed, only=["secrets"], retention_days=1e-9)
    assert made.removed == (ahead,)
    assert left(directory) == [made.path.name]


def test_a_name_with_a_day_that_never_was_is_somebody_elses(placed: Environ, directory: Path) -> None:
    directory.mkdir()
    foreign = directory / "gatehouse-20250231T000000Z.tar.gz"
    foreign.write_bytes(b"mine")
    age_by(foreign, 90)
    made = backup.create(environ=placed, only=["secrets"])
    assert left(directory) == sorted([foreign.name, made.path.name])


def test_nothing_goes_when_everything_is_to_be_kept(reading: Environ) -> None:
    age_by(backup.create(environ=reading).path, 90)
    assert backup.create(environ=reading, retention_days=0).removed == ()


def test_what_was_written_wrongly_is_never_named(
    reading: Environ, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading back is what finds it: here one byte of the dump is changed on its way to the file."""

    class Bad(gzip.GzipFile):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            return super().write(bytes(data).replace(b"login_events", b"login_evvnts"))

    monkeypatch.setattr("ops.backup.archive.gzip.GzipFile", Bad)
    with pytest.raises(BackupFailed, match="is damaged: database/00000"):
        backup.create(environ=reading)
    assert left(directory) == []


@pytest.mark.parametrize("position", [0.1, 0.5, 0.9])
def test_a_damaged_archive_is_refused(reading: Environ, position: float) -> None:
    path = backup.create(environ=reading).path
    content = bytearray(path.read_bytes())
    content[int(len(content) * position)] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(BackupFailed, match="damaged"):
        backup.verify(path, None)
    path.write_bytes(content[: int(len(content) * position)])
    with pytest.raises(BackupFailed, match=r"damaged|no manifest"):
        backup.verify(path, None)


def test_rows_are_those_of_the_dump_however_much_is_written_meanwhile(environ: Environ, database_url: str) -> None:
    """Counting and dumping share one snapshot: what commits between the two is in neither."""
    with psycopg.connect(database_url) as writer:
        writer.execute("INSERT INTO core.recent_purges (user_id) VALUES (gen_random_uuid())")

        def commit(title: str, *_: object) -> None:
            if title == "Database":
                writer.commit()

        made = backup.create(environ=environ, only=["database"], progress=commit)
    assert made.rows["core.recent_purges"] == 0


def test_a_place_without_a_stack_gets_no_cluster(placed: Environ, tmp_path: Path) -> None:
    del placed["DATABASE_URL"]
    empty = {**placed, "GATEHOUSE_VAR": str(tmp_path / "empty")}
    with pytest.raises(BackupFailed, match="no stack was ever started there"):
        backup.create(environ=empty)
    assert not (tmp_path / "empty" / "pg").exists()
