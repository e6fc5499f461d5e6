"""Tries a backup out: restores it into a scratch state directory, looks at what is there, and removes it again.

The restore is the real command in a process of its own, with an environment that knows nothing of the running stack: no
URL, no port, no secret of it. So the archive alone must be enough. What is then shown, each by name in the outcome:

    restored      the rows of every table are those of the manifest, counted before the restore's commit
    ready         auth, core, edge, database and store of the scratch stack say so
    signing key   the tokens of the scratch stack are signed with a key from the archive, which SECRET_KEY opened
    pepper        the API keys in the archive were hashed with the pepper in the archive
    sign-in       an account from the archive signs in, and its token is told who it is

Nobody's password is known, so the account gets another one in the scratch copy: a sign-in shows that account, roles,
sessions, keys and services work together, not that a password is the old one. Its hash is in the rows counted.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import jwt
import psycopg

from auth_service import passwords
from auth_service.keys.pepper import Pepper
from common.settings import SettingsError
from ops import alerts
from ops.backup import making, options, record
from ops.backup.choosing import Say, choose
from ops.backup.errors import BackupFailed
from ops.backup.making import Progress
from ops.backup.manifest import Manifest
from ops.embedded import Postgres, discard
from ops.stack import configuration
from ops.stack.configuration import Configuration
from ops.stack.database import running_url
from ops.stack.errors import StackError

PARTS = ("database", "secrets")
_SECONDS_MAX = 3600.0
_ANSWER_SECONDS = 20
# All that the scratch stack gets of our environment: what it takes to run a program, nothing of any stack.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "COVERAGE_PROCESS_CONFIG")
_PORTS = ("EDGE_PORT", "AUTH_PORT", "CORE_PORT")

_ACCOUNT = """
    SELECT id, email FROM auth.users WHERE is_active AND email IS NOT NULL ORDER BY created_at LIMIT 1
"""
_SET_PASSWORD = "UPDATE auth.users SET password_hash = %s WHERE id = %s"  # noqa: S105 - a statement
_CONFIRM = "UPDATE auth.users SET is_verified = true WHERE id = %s"
_SIGNING_KEYS = "SELECT kid FROM auth.signing_keys"
_PEPPERS = "SELECT DISTINCT pepper_id FROM auth.api_keys"


def drill(
    source: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    progress: Progress = lambda *_: None,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """The outcome as in `run/backups.json`, recorded there; `source` None: a backup made for it, and removed.

    The running stack is only read from. Raises BackupFailed; the failure is recorded and the alert hook called.
    """
    read = configuration.read(environ)
    started, outcome = time.monotonic(), {"time": record.now(), "ok": False, "archive": None, "checks": {}, "rows": 0}
    try:
        with tempfile.TemporaryDirectory(prefix="gatehouse-drill-") as folder:
            Path(folder).chmod(0o711)  # as root, the servers' own number must reach their files
            _drill(read, source, Path(folder), outcome, progress=progress, say=say)
    except (StackError, SettingsError, OSError, psycopg.Error) as error:
        text = str(error).strip() or type(error).__name__
        record.drilled(read.place, {**outcome, **_ended(started, text)})
        alerts.alert("backup drill failed", text, environ=read.environ)
        raise BackupFailed(text) from None
    outcome |= {"ok": True, **_ended(started, None)}
    record.drilled(read.place, outcome)
    return outcome


def _ended(started: float, error: str | None) -> dict[str, Any]:
    return {"seconds": round(time.monotonic() - started, 1), "error": error}


def _drill(
    read: Configuration, source: Path | None, folder: Path, outcome: dict[str, Any], *, progress: Progress, say: Say
) -> None:
    passphrase = options.read(read.place, read.environ).passphrase
    if source is None:
        source = making.write(read, folder / "backup", PARTS, progress)
    path, manifest = choose(source, PARTS, passphrase, say=say, progress=lambda n: progress("Checking it", n, None))
    outcome["archive"] = str(path)
    environ = _environment(folder, passphrase)
    var = Path(environ["GATEHOUSE_VAR"])
    with ExitStack() as afterwards:
        afterwards.callback(_remove, var, environ)
        say(f"restoring {path} into {var}")
        restored = json.loads(_gatehouse(environ, "restore", "--from", str(path), "--yes", "--json"))
        outcome["rows"] = sum(restored["rows"].values())
        outcome["checks"] = _look(manifest, restored, environ)


def _look(manifest: Manifest, restored: dict[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    assert manifest.database
    if restored["rows"] != manifest.database.rows:
        raise BackupFailed("the rows restored are not those of the manifest")
    checks = {"restored": f"{sum(restored['rows'].values())} rows in {len(restored['rows'])} tables"}
    checks["ready"] = _readiness(environ)
    with _database(environ) as connection:
        checks |= _show_keys(connection, environ)
        checks |= _sign_in(connection, environ, {row[0] for row in connection.execute(_SIGNING_KEYS)})
    return checks


def _readiness(environ: Mapping[str, str]) -> str:
    body = _call(environ, "GET", "/health/ready")
    if body["status"] != "ready":
        raise BackupFailed(f"the restored stack is {body['status']}: {body['checks']}")
    return ", ".join(sorted(body["checks"]))


def _show_keys(connection: "psycopg.Connection[Any]", environ: Mapping[str, str]) -> dict[str, str]:
    peppers = {row[0] for row in connection.execute(_PEPPERS)}
    secret = (Path(environ["GATEHOUSE_VAR"]) / "secrets" / "KEY_PEPPER").read_text().strip()
    if foreign := peppers - {Pepper.of(secret).id}:
        raise BackupFailed(f"{len(foreign)} of {len(peppers)} peppers of the API keys are not the one in the archive")
    return {"pepper": "the one of every API key" if peppers else "no API keys to compare with"}


def _sign_in(connection: "psycopg.Connection[Any]", environ: Mapping[str, str], kids: set[str]) -> dict[str, str]:
    """As an account of the archive, else as one made for it."""
    password = secrets.token_urlsafe(24)
    account = connection.execute(_ACCOUNT).fetchone()
    if account is None:
        email, kind = "drill@gatehouse.example", "an account made for it (the archive has none)"
        _call(environ, "POST", "/api/v1/auth/register", {"email": email, "password": password})
    else:
        email, kind = account[1], "an account of the archive"
        connection.execute(_SET_PASSWORD, (passwords.standard().hash(password), account[0]))
        connection.execute(_CONFIRM, (account[0],))
    token = _call(environ, "POST", "/api/v1/auth/login", {"email": email, "password": password})["data"]["accessToken"]
    if kids and jwt.get_unverified_header(token)["kid"] not in kids:
        raise BackupFailed("the restored stack signs with a key of its own: SECRET_KEY does not open the archive's")
    known = _call(environ, "GET", "/api/v1/me", token=token)["data"]["user"]
    if known["email"] != email:
        raise BackupFailed("the restored stack takes one account for another")
    return {"signing key": "one of the archive's" if kids else "a new one (the archive has none)", "sign-in": kind}


def _call(
    environ: Mapping[str, str], method: str, path: str, body: dict[str, Any] | None = None, *, token: str = ""
) -> dict[str, Any]:
    """The answer of the scratch stack's edge."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = json.dumps(body).encode() if body else None
    url = f"http://127.0.0.1:{environ['EDGE_PORT']}{path}"
    try:
        request = Request(url, method=method, data=data, headers=headers)
        with urlopen(request, timeout=_ANSWER_SECONDS) as response:  # noqa: S310 - our own edge
            answer: dict[str, Any] = json.load(response)
    except HTTPError as error:
        with error:
            raise BackupFailed(f"{method} {path} on the restored stack answered {error.code}") from None
    except (URLError, TimeoutError, ValueError) as error:
        raise BackupFailed(f"{method} {path} on the restored stack failed: {error}") from None
    return answer


@contextmanager
def _database(environ: Mapping[str, str]) -> Iterator["psycopg.Connection[Any]"]:
    url = running_url(Postgres, configuration.read(environ))
    if url is None:
        raise BackupFailed("the restored stack has no database running")
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def _environment(folder: Path, passphrase: str | None) -> dict[str, str]:
    (folder / "env").touch()
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    own = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **own,
        **{name: str(port) for name, port in ports.items()},
        **({"BACKUP_PASSPHRASE": passphrase} if passphrase else {}),
        "GATEHOUSE_VAR": str(folder / "var"),
        "GATEHOUSE_ENV_FILE": str(folder / "env"),
        "LAME_DUCK_SECONDS": "0",
    }


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _gatehouse(environ: Mapping[str, str], *words: str) -> str:
    """What it printed. In a session of its own: a Ctrl-C is ours, and ends it by the way we remove everything."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli", *words],
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, said = process.communicate(timeout=_SECONDS_MAX)
    except BaseException as error:
        process.terminate()
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise BackupFailed(f"gatehouse {words[0]} was not done within {_SECONDS_MAX / 60:.0f} minutes") from None
        raise
    if process.returncode:
        raise BackupFailed(f"gatehouse {words[0]} failed: {said.strip().splitlines()[-1] if said.strip() else ''}")
    return output


def _remove(var: Path, environ: Mapping[str, str]) -> None:
    try:
        _gatehouse(environ, "down")
    finally:
        discard(var)
        shutil.rmtree(var, ignore_errors=True)
