"""The whole stack, lost and restored: real processes, the real command, nothing but the archive left."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg
import pytest

from ops import backup
from ops.backup import drilling, planning, restoring
from ops.embedded import discard
from ops.stack import configuration, prepare
from tests.ops.stacks import Stack
from tests.servers import state_directory

ACCOUNT = {"email": "pat@example.com", "password": "a password to come back"}
# What a drill that went to the wrong place would change there: a password, sessions, attempts, sign-in events.
TRACES = """
    SELECT (SELECT array_agg(password_hash ORDER BY id) FROM auth.users), (SELECT count(*) FROM auth.sessions),
           (SELECT count(*) FROM auth.signing_keys), (SELECT count(*) FROM auth.login_events)
"""
PASSPHRASE = "a passphrase of some length"


def call(stack: Stack, method: str, path: str, body: Any = None, credential: str = "") -> dict[str, Any]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {credential}"} if credential else {})
    data = json.dumps(body).encode() if body is not None else None
    with urlopen(Request(stack.url + path, method=method, data=data, headers=headers), timeout=10) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def fill(stack: Stack) -> dict[str, str]:
    """An account with an expense and a key; the credentials that must still open it afterwards."""
    call(stack, "POST", "/api/v1/auth/register", ACCOUNT)
    signed_in = call(stack, "POST", "/api/v1/auth/login", ACCOUNT)["data"]
    token = signed_in["accessToken"]
    category = call(stack, "GET", "/api/v1/categories", credential=token)["data"]["items"][0]["id"]
    expense = {"amount": "25.50", "date": "2025-11-20", "category_id": category, "description": "kept"}
    call(stack, "POST", "/api/v1/expenses", expense, token)
    key = call(stack, "POST", "/api/v1/api-keys", {"name": "kept"}, token)["data"]["key"]
    return {"token": token, "refresh": signed_in["refreshToken"], "key": key}


def assert_all_is_back(stack: Stack, known: dict[str, str]) -> None:
    for credential in (known["token"], known["key"]):
        rows = call(stack, "GET", "/api/v1/expenses", credential=credential)["data"]["items"]
        assert [(row["amount"], row["description"]) for row in rows] == [("25.50", "kept")]
    assert call(stack, "POST", "/api/v1/auth/login", ACCOUNT)["data"]["user"]["email"] == ACCOUNT["email"]
    assert call(stack, "POST", "/api/v1/auth/refresh", {"refreshToken": known["refresh"]})["data"]["accessToken"]
    assert stack.call("GET", "/api/v1/me")["data"]["user"]["email"] == "admin@gatehouse.local"
    assert stack.credentials()["url"] == stack.url


@pytest.fixture(scope="module")
def backups() -> Iterator[Path]:
    with state_directory() as var:
        yield var.parent / "backups"


@pytest.fixture(scope="module")
def lived(backups: Path) -> Iterator[tuple[Stack, dict[str, str]]]:
    """A stack with data in it, backed up."""
    with state_directory() as var:
        stack = Stack(var, BACKUP_PASSPHRASE=PASSPHRASE)
        try:
            stack.up()
            known = fill(stack)
            made = stack.gatehouse("backup", "--output", str(backups), "--json")
            assert made.returncode == 0, made.stderr
            assert json.loads(made.stdout)["encrypted"] is True
            yield stack, known
        finally:
            end(stack)


def end(stack: Stack) -> None:
    stack.gatehouse("down")
    for pid in stack.processes():
        os.kill(pid, signal.SIGKILL)
    discard(stack.var)


def test_a_running_stack_goes_back_without_ending(lived: tuple[Stack, dict[str, str]], backups: Path) -> None:
    stack, known = lived
    pid = stack.status()["pid"]
    call(stack, "POST", "/api/v1/auth/register", {**ACCOUNT, "email": "later@example.com"})
    done = stack.gatehouse("restore", "--from", str(backups), "--yes")
    assert done.returncode == 0, done.stderr
    assert "the stack is running and ready" in done.stdout
    assert stack.status()["pid"] == pid
    assert_all_is_back(stack, known)
    with pytest.raises(HTTPError, match="401"):
        call(stack, "POST", "/api/v1/auth/login", {**ACCOUNT, "email": "later@example.com"})


def test_a_drill_restores_signs_in_and_leaves_the_stack_alone(
    lived: tuple[Stack, dict[str, str]], backups: Path
) -> None:
    stack, _ = lived
    before = stack.status()
    done = stack.gatehouse("backup", "drill", "--from", str(backups), "--json", timeout=120)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["ok"] is True
    assert outcome["checks"].keys() == {"restored", "ready", "pepper", "signing key", "sign-in"}
    assert outcome["checks"]["sign-in"] == "an account of the archive"
    assert outcome["seconds"] < 120
    scratch = done.stderr.split(" into ")[1].strip()
    assert not Path(scratch).parent.exists()
    after = stack.status()
    assert [entry["pid"] for entry in after["services"]] == [entry["pid"] for entry in before["services"]]
    assert json.loads((stack.var / "run" / "backups.json").read_text())["last_drill"]["ok"] is True


def test_everything_comes_back_from_the_archive_alone(lived: tuple[Stack, dict[str, str]], backups: Path) -> None:
    stack, known = lived
    stack.kill_all()
    discard(stack.var)
    shutil.rmtree(stack.var)
    with state_directory() as var:
        new = Stack(var, BACKUP_PASSPHRASE=PASSPHRASE)
        try:
            done = new.gatehouse("restore", "--from", str(backups), "--yes", "--json")
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["running"] is True
            assert_all_is_back(new, known)
        finally:
            end(new)


def test_a_drill_never_reaches_the_servers_that_the_archive_names(environ: dict[str, str]) -> None:
    """As on a host, where the URLs are kept among the secrets, and no password of an embedded server is."""
    kept = Path(environ["GATEHOUSE_VAR"]) / "secrets"
    database = environ.pop("DATABASE_URL")
    for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "AUTH_DB_PASSWORD", "CORE_DB_PASSWORD"):
        (kept / name).unlink()
    for name in ("DATABASE_URL", "MIGRATE_DATABASE_URL", "AUTH_DATABASE_URL", "CORE_DATABASE_URL"):
        (kept / name).write_text(database)
        (kept / name).chmod(0o600)
    with psycopg.connect(database, autocommit=True) as connection, state_directory() as var:
        prepare.make_admin(database, "admin@example.com", (kept / "KEY_PEPPER").read_text().strip())
        before = connection.execute(TRACES).fetchone()
        made = backup.create(environ=environ)
        scratch = drilling._environment(var.parent, None)
        try:
            restored = restoring.restore(planning.plan(made.path, environ=scratch), starts=False)
        finally:
            discard(var)
        assert connection.execute(TRACES).fetchone() == before
        assert restored.rows == made.rows
        assert sorted(path.name for path in (var / "secrets").glob("*_URL")) == []
        read = configuration.read(scratch)
        assert (read.owner_url, read.redis_url) == (None, None)


def test_a_failed_drill_is_recorded_and_alerts(tmp_path: Path) -> None:
    with state_directory() as var:
        stack = Stack(var, ALERT_HOOK=str(tmp_path / "hook"))
        (tmp_path / "hook").write_text(f"#!/bin/sh\ncat > {tmp_path}/alert\n")
        (tmp_path / "hook").chmod(0o700)
        (tmp_path / "gatehouse-20250101T000000Z.tar.gz").write_bytes(b"no archive")
        done = stack.gatehouse("backup", "drill", "--from", str(tmp_path))
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == f"error: {tmp_path} holds no backup that is whole: 1 were tried"
        assert json.loads((var / "run" / "backups.json").read_text())["last_drill"]["ok"] is False
        assert json.loads((tmp_path / "alert").read_text())["subject"] == "backup drill failed"
