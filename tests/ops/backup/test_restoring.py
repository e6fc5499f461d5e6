"""A restore is all or nothing: what was there stays until everything is there that takes its place."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from ops import backup, secrets
from ops.backup import elsewhere, planning, restoring, tools
from ops.backup.errors import BackupFailed
from ops.backup.parts import SHIPPED_LIMITS
from ops.embedded import Postgres, ServerError
from ops.stack import configuration
from ops.stack.errors import StackError
from ops.stack.pausing import exclusive
from ops.stack.place import Place
from tests.conftest import made_database, on_database
from tests.ops.backup.conftest import EXPENSES
from tests.ops.stacks import free_ports
from tests.servers import CLUSTER_SECRETS, state_directory

PASSPHRASE = "a passphrase of some length"
Environ = dict[str, str]


@pytest.fixture
def environ(environ: Environ) -> Environ:
    ports = zip(("EDGE_PORT", "AUTH_PORT", "CORE_PORT"), free_ports(3), strict=True)
    return environ | {name: str(port) for name, port in ports}


def count(url: str, table: str = "auth.login_events") -> int:
    schema, name = table.split(".")
    with psycopg.connect(url) as connection:
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, name))).fetchone()
        assert row
        return int(row[0])


def secret(environ: Environ, name: str) -> Path:
    return Path(environ["GATEHOUSE_VAR"]) / "secrets" / name


def change_everything(environ: Environ) -> Environ:
    """Other data, other secrets, another certificate than those backed up; a table that no backup knows."""
    with psycopg.connect(environ["DATABASE_URL"]) as connection:
        connection.execute("DELETE FROM auth.login_events")
        connection.execute("CREATE TABLE core.later (id integer PRIMARY KEY)")
        connection.execute("CREATE TYPE core.mood AS ENUM ('good')")
        connection.execute("CREATE VIEW core.seen AS SELECT * FROM core.later")
        connection.execute("CREATE FUNCTION core.answer(core.mood) RETURNS integer LANGUAGE sql AS 'SELECT 42'")
    for name in ("SECRET_KEY", "KEY_PEPPER"):
        secret(environ, name).write_text("changed" * 8)
    (Path(environ["GATEHOUSE_VAR"]) / "certs" / "live" / "api.pem").write_text("changed")
    return state(environ)


def state(environ: Environ) -> Environ:
    """What a failed restore must leave as it is."""
    var = Path(environ["GATEHOUSE_VAR"])
    files = [path for folder in ("secrets", "certs") for path in sorted((var / folder).rglob("*")) if path.is_file()]
    found = {str(path): path.read_text() for path in files}
    return found | {
        "rows": str(count(environ["DATABASE_URL"])),
        "later": str(count(environ["DATABASE_URL"], "core.later")),
    }


def restore(environ: Environ, *parts: str, source: Path | None = None) -> restoring.Restored:
    planned = planning.plan(source or Path(environ["BACKUP_DIRECTORY"]), parts=parts, environ=environ)
    return restoring.restore(planned, starts=False)


def test_data_secrets_and_certificates_come_back(environ: Environ) -> None:
    kept = secret(environ, "SECRET_KEY").read_text()
    made = backup.create(environ=environ)
    change_everything(environ)
    restored = restore(environ)
    assert (restored.archive, restored.parts) == (made.path, ("database", "secrets", "certificates"))
    assert restored.rows == made.rows
    assert count(environ["DATABASE_URL"]) == EXPENSES
    assert secret(environ, "SECRET_KEY").read_text() == kept
    assert (Path(environ["GATEHOUSE_VAR"]) / "certs" / "live" / "api.pem").read_text() == "certificate"
    with psycopg.connect(environ["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT to_regclass('core.later'), to_regtype('core.mood')").fetchone() == (
            None,
            None,
        )
        connection.execute("SELECT auth.roll_login_events()")
    assert [path.name for path in Path(environ["GATEHOUSE_VAR"]).glob(".restore*")] == []


def test_an_encrypted_archive_restores_into_an_empty_database(
    environ: Environ, empty_database_url: str, tmp_path: Path
) -> None:
    environ["BACKUP_PASSPHRASE"] = PASSPHRASE
    made = backup.create(environ=environ)
    new = environ | {"DATABASE_URL": empty_database_url, "GATEHOUSE_VAR": str(tmp_path / "new")}
    restore(new, source=made.path)
    assert count(empty_database_url) == EXPENSES
    for name in secrets.NAMES:
        assert secret(new, name).read_text() == secret(environ, name).read_text()
        assert secret(new, name).stat().st_mode & 0o777 == 0o600


def test_rows_that_are_not_those_of_the_manifest_leave_everything_as_it_was(environ: Environ) -> None:
    backup.create(environ=environ)
    before = change_everything(environ)
    planned = planning.plan(Path(environ["BACKUP_DIRECTORY"]), environ=environ)
    assert planned.manifest.database
    lying = replace(planned.manifest.database, rows={**planned.manifest.database.rows, "auth.users": 77})
    with pytest.raises(BackupFailed, match=r"auth\.users has 0 rows instead of 77"):
        restoring.restore(replace(planned, manifest=replace(planned.manifest, database=lying)), starts=False)
    assert state(environ) == before


@pytest.mark.parametrize("title", ["Database"])
def test_an_interrupt_leaves_everything_as_it_was(environ: Environ, title: str) -> None:
    backup.create(environ=environ)
    before = change_everything(environ)

    def interrupt(doing: str, *_: object) -> None:
        if doing == title:
            raise KeyboardInterrupt

    planned = planning.plan(Path(environ["BACKUP_DIRECTORY"]), environ=environ)
    with pytest.raises(KeyboardInterrupt):
        restoring.restore(planned, starts=False, progress=interrupt)
    assert state(environ) == before


def test_secrets_that_cannot_be_replaced_leave_the_data_too(environ: Environ, monkeypatch: pytest.MonkeyPatch) -> None:
    """The renaming happens when all data is in, and fails at the second of three names."""
    backup.create(environ=environ)
    before = change_everything(environ)
    planned = planning.plan(Path(environ["BACKUP_DIRECTORY"]), environ=environ)
    moves: list[Path] = []
    certificates = Path(environ["GATEHOUSE_VAR"]) / "certs"

    def move(source: Path, target: Path) -> None:
        moves.append(target)
        if target == certificates and moves.count(certificates) == 1:
            raise PermissionError(13, "Permission denied", str(target))
        os.rename(source, target)

    monkeypatch.setattr("ops.backup.swap.shutil.move", move)
    with pytest.raises(BackupFailed, match="certs cannot be replaced: Permission denied"):
        restoring.restore(planned, starts=False)
    assert Path(environ["GATEHOUSE_VAR"]) / "secrets" in moves
    assert state(environ) == before


def test_a_killed_restore_leaves_the_data_that_was_there(environ: Environ) -> None:
    """Killed at the last moment before the commit, with everything in: nobody is left to roll it back."""
    made = backup.create(environ=environ)
    before = change_everything(environ)
    script = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from ops import backup\nfrom ops.backup.loading import load\n"
        "path = Path(sys.argv[2])\ndumped = backup.verify(path, None).database\n"
        "load(sys.argv[1], path, None, dumped, before_commit=lambda: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    words = [sys.executable, "-c", script, environ["DATABASE_URL"], str(made.path)]
    done = subprocess.run(words, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    with psycopg.connect(environ["DATABASE_URL"]) as connection:
        connection.execute("LOCK auth.users")  # waits for the end of the transaction that nobody owns any more
    assert state(environ) == before


def test_secrets_of_the_environment_that_differ_are_refused_by_name(environ: Environ) -> None:
    backup.create(environ=environ)
    before = change_everything(environ)
    wrong = {"SECRET_KEY": "x" * 40, "KEY_PEPPER": "y" * 40, "POSTGRES_PASSWORD": "of this machine's server"}
    with pytest.raises(BackupFailed, match="the environment sets SECRET_KEY, KEY_PEPPER to another value"):
        restore(environ | wrong)
    with pytest.raises(BackupFailed, match="sets SECRET_KEY to another value than the backup has: unset it"):
        restore(environ | {"JWT_SECRET": "z" * 40})
    assert state(environ) == before


def test_the_same_secret_in_the_environment_is_no_conflict(environ: Environ) -> None:
    backup.create(environ=environ)
    restore(environ | {"SECRET_KEY": secret(environ, "SECRET_KEY").read_text().strip()})


def test_what_opens_the_servers_of_this_machine_stays(environ: Environ) -> None:
    backup.create(environ=environ)
    for name in ("POSTGRES_PASSWORD", "AUTH_DB_PASSWORD", "REDIS_URL", "API_ADMIN_TOKEN"):
        secret(environ, name).write_text("of this machine")
    restore(environ)
    for name in ("POSTGRES_PASSWORD", "AUTH_DB_PASSWORD", "REDIS_URL", "API_ADMIN_TOKEN"):
        assert secret(environ, name).read_text() == "of this machine"


def test_a_damaged_archive_is_passed_over_and_told_of(environ: Environ) -> None:
    good = backup.create(environ=environ).path
    bad = backup.create(environ=environ).path
    bad.write_bytes(bad.read_bytes()[:-100])
    told: list[str] = []
    planned = planning.plan(Path(environ["BACKUP_DIRECTORY"]), environ=environ, say=told.append)
    assert planned.archive == good
    assert len(told) == 1
    assert str(bad) in told[0]


def test_a_newest_archive_without_its_passphrase_is_not_passed_over(environ: Environ) -> None:
    backup.create(environ=environ)
    backup.create(environ=environ | {"BACKUP_PASSPHRASE": PASSPHRASE})
    with pytest.raises(BackupFailed, match="is encrypted: set BACKUP_PASSPHRASE"):
        planning.plan(Path(environ["BACKUP_DIRECTORY"]), environ=environ)


def test_an_archive_of_a_newer_gatehouse_is_refused(environ: Environ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.backup.making.version", lambda _: "99.0.0")
    backup.create(environ=environ)
    with pytest.raises(BackupFailed, match=r"was made by Gatehouse 99\.0\.0 and this is"):
        planning.plan(Path(environ["BACKUP_DIRECTORY"]), environ=environ)


def test_each_part_can_be_restored_alone(environ: Environ) -> None:
    kept = secret(environ, "SECRET_KEY").read_text()
    backup.create(environ=environ)
    before = change_everything(environ)
    env_file = Path(environ["GATEHOUSE_ENV_FILE"])
    env_file.write_text("LOG_LEVEL=DEBUG\n")
    env_file.chmod(0o640)

    restore(environ, "configuration")
    assert env_file.read_text() == "LOG_LEVEL=INFO\n"
    assert env_file.stat().st_mode & 0o777 == 0o640
    restore(environ, "logs")
    logs = Path(environ["GATEHOUSE_VAR"]) / "logs"
    assert [path.read_text() for path in logs.glob("restored-*/edge.log")] == ["line\n" * 50]
    restore(environ, "certificates")
    assert (logs.parent / "certs" / "live" / "api.pem").read_text() == "certificate"
    assert count(environ["DATABASE_URL"]) == int(before["rows"])
    restore(environ, "secrets")
    assert secret(environ, "SECRET_KEY").read_text() == kept
    assert count(environ["DATABASE_URL"]) == int(before["rows"])
    restore(environ, "database")
    assert count(environ["DATABASE_URL"]) == EXPENSES


def test_limits_of_tiers_come_back_to_where_they_are_read(environ: Environ, tmp_path: Path) -> None:
    own = tmp_path / "limits.toml"
    own.write_text("[tier.pro]\ngeneral = 10\n")
    backup.create(environ=environ | {"EDGE_LIMITS": str(own)}, only=["configuration"])
    shipped = SHIPPED_LIMITS.read_bytes()
    restore(environ, "configuration")
    assert SHIPPED_LIMITS.read_bytes() == shipped
    elsewhere = tmp_path / "elsewhere.toml"
    restore(environ | {"EDGE_LIMITS": str(elsewhere)}, "configuration")
    assert elsewhere.read_text() == own.read_text()


def test_a_part_that_is_not_there_is_named(environ: Environ) -> None:
    made = backup.create(environ=environ, only=["logs"])
    with pytest.raises(BackupFailed, match="holds no backup with database and secrets"):
        restore(environ)
    with pytest.raises(BackupFailed, match="holds logs and not secrets"):
        restore(environ, "secrets", source=made.path)


def test_two_restores_do_not_meet(environ: Environ) -> None:
    backup.create(environ=environ)
    with exclusive(Place(Path(environ["GATEHOUSE_VAR"]))), pytest.raises(StackError, match="another restore"):
        restore(environ)


@contextmanager
def answering(port: str, service: str) -> Iterator[None]:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"success": True, "service": service}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: this is no output of a test."""

    with HTTPServer(("127.0.0.1", int(port)), Health) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join(10)


def test_services_that_no_controller_keeps_are_not_restored_under(environ: Environ) -> None:
    backup.create(environ=environ)
    before = change_everything(environ)
    with answering(environ["AUTH_PORT"], "auth"), pytest.raises(StackError, match="auth still runs: "):
        restore(environ)
    assert state(environ) == before


def test_under_systemd_the_commands_are_systemds(
    environ: Environ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup.create(environ=environ)
    units = "\n\n".join(
        f"Id=gatehouse-{name}.service\nLoadState=loaded\nActiveState=STATE\n"
        f"Environment=PYTHONSAFEPATH=1 GATEHOUSE_VAR={environ['GATEHOUSE_VAR']}"
        for name in ("edge", "auth", "core")
    )
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "systemctl"
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def say(active: str) -> None:
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{units.replace('STATE', active)}\nEND\n")
        program.chmod(0o755)

    say("active")
    with pytest.raises(StackError, match="edge, auth, core still run: sudo systemctl stop gatehouse"):
        restore(environ)
    say("inactive")
    assert restore(environ).next_step == "sudo systemctl start gatehouse.target"
    assert elsewhere.manager(configuration.read(environ | {"GATEHOUSE_VAR": "/elsewhere"})) != elsewhere.SYSTEMD


def test_roles_and_rights_are_right_afterwards(environ: Environ, postgres_dsn: str) -> None:
    """Into a database of another name: its services' roles are others than those of the dump.

    As on a host, where there is no embedded server and nobody has its password.
    """
    secret(environ, "POSTGRES_PASSWORD").unlink()
    made = backup.create(environ=environ)
    with made_database(postgres_dsn, template=None) as name:
        url = on_database(postgres_dsn, name)
        new = {key: value for key, value in environ.items() if key != "DATABASE_URL"} | {"MIGRATE_DATABASE_URL": url}
        try:
            restore(new, source=made.path)
            roles = {schema: _as(url, f"{name}_{schema}", new, schema) for schema in ("auth", "core")}
            for schema, role_url in roles.items():
                with psycopg.connect(role_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(f"CREATE TABLE {schema}.mine ()")  # type: ignore[arg-type]
        finally:
            with psycopg.connect(url, autocommit=True) as connection:
                for schema in ("auth", "core"):
                    role = sql.Identifier(f"{name}_{schema}")
                    connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
                    connection.execute(sql.SQL("DROP ROLE {}").format(role))


def _as(url: str, role: str, environ: Environ, schema: str) -> str:
    password = secret(environ, f"{schema.upper()}_DB_PASSWORD").read_text().strip()
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}:{password}@{parts.netloc.rpartition('@')[2]}").geturl()


def test_a_dump_restores_into_an_older_server(environ: Environ) -> None:
    """pg_dump 18 into PostgreSQL 15 and the like: settings that the older one does not know are left out."""
    made = backup.create(environ=environ)
    older = min(tools.found())
    dumped = backup.verify(made.path, None).database
    assert dumped
    if older >= dumped.server:
        pytest.skip("install postgresql-15: this machine has no older server than the one the tests run on")
    with state_directory() as var:
        try:
            server = Postgres(var, CLUSTER_SECRETS, servers="system", durable=False)
            with server:
                restore(environ | {"DATABASE_URL": server.url}, source=made.path)
                assert count(server.url) == EXPENSES
        except ServerError as error:
            pytest.skip(str(error))
