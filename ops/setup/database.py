"""The step that makes a database: passwords are kept before the roles have them, so that a failure loses none."""

import json
import os
import pwd
import sys
from collections.abc import Callable
from typing import Any

import psycopg

from ops.migrate.database import said
from ops.setup import server
from ops.setup.secret_files import SecretFiles, secret
from ops.setup.server import Names
from ops.stack.errors import StackError

PEER_URL = "postgresql:///postgres?host=/var/run/postgresql"
_SETTINGS = ("MIGRATE_DATABASE_URL", "AUTH_DATABASE_URL", "CORE_DATABASE_URL", "AUTH_DB_PASSWORD", "CORE_DB_PASSWORD")
# (what is to be done, done by whom): directly, or as the local server's own user.
Runs = Callable[[Callable[[], Any]], Any]


def directly(work: Callable[[], Any]) -> Any:
    return work()


def as_user(name: str) -> Runs:
    """In a child that is `name` for good: the local server knows its administrator by the process's user."""

    def run(work: Callable[[], Any]) -> Any:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            raise StackError(
                f"this machine has no user {name}: install PostgreSQL, or name a server elsewhere"
            ) from None
        reading, writing = os.pipe()
        sys.stdout.flush()
        if not (pid := os.fork()):
            os.close(reading)
            _in_child(user, work, writing)
        os.close(writing)
        with os.fdopen(reading) as answers:
            text = answers.read()
        os.waitpid(pid, 0)
        answer = json.loads(text or '{"error": "the child that speaks with the server ended without an answer"}')
        if "error" in answer:
            raise StackError(answer["error"])
        return answer["result"]

    return run


def _in_child(user: pwd.struct_passwd, work: Callable[[], Any], writing: int) -> None:
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        os.chdir("/")
        answer: dict[str, Any] = {"result": work()}
    except Exception as error:  # noqa: BLE001 - told to the parent, which raises it
        answer = {"error": str(error) or type(error).__name__}
    except KeyboardInterrupt:  # the parent's to answer; the child must not go on as if it were that
        os._exit(1)
    os.write(writing, json.dumps(answer).encode())
    os._exit(0)


def make(
    admin_url: str,
    names: Names,
    kept: SecretFiles,
    *,
    renews: bool = False,
    base_url: str = "",
    runs: Runs = directly,
) -> list[str]:
    """What was made, a sentence each; nothing where everything is there.

    `base_url` is where the services find the server, `admin_url` when not given. Raises StackError, also for roles that
    are there and whose passwords are not known here: `renews` gives them new ones, which ends whoever uses the old.
    """
    known = kept.all(_SETTINGS)
    _must_be_the_same(known, names)
    can_sign_in = server.can_sign_in(known)
    passwords = server.passwords_in(known)
    there = runs(lambda: server.existing_roles(admin_url, names))
    if (strange := [names.role(kind) for kind in there if kind not in passwords]) and not renews:
        raise StackError(
            f"{', '.join(strange)} exist on that server and their passwords are not kept here: copy the secrets of the "
            "machine that uses them, choose another --database-name, or say --renew-passwords"
        )
    passwords = {kind: passwords.get(kind) or secret() for kind in server.ROLES}
    for name, value in server.settings(base_url or admin_url, names, passwords).items():
        kept.keep(name, value, replaces=renews)
    made: list[str] = runs(lambda: server.make_ready(admin_url, names, passwords, sets_passwords=not can_sign_in))
    return made if can_sign_in else [*made, "passwords of the roles set to what is kept here"]


def kept_passwords(kept: SecretFiles, names: Names, base_url: str) -> dict[str, str]:
    """By role, for who runs the SQL by hand; what is missing is made and kept first, with URLs for `base_url`."""
    known = kept.all(_SETTINGS)
    _must_be_the_same(known, names)
    passwords = server.passwords_in(known)
    if missing := [kind for kind in server.ROLES if kind not in passwords]:
        if not base_url:
            raise StackError("--admin-url must be given too: the roles' URLs are kept with their passwords")
        passwords |= {kind: secret() for kind in missing}
        for name, value in server.settings(base_url, names, passwords).items():
            kept.keep(name, value)
    return passwords


def local_url(runs: Runs) -> str:
    """Where the services find the server of this machine: over TCP, with a password. Raises StackError."""

    def port() -> str:
        try:
            with psycopg.connect(PEER_URL, connect_timeout=10) as connection:
                row = connection.execute("SHOW port").fetchone()
        except psycopg.Error as error:
            raise StackError(f"PostgreSQL on this machine does not answer: {said(error)}") from None
        assert row is not None
        return str(row[0])

    return f"postgresql://127.0.0.1:{runs(port)}/postgres"


def _must_be_the_same(known: dict[str, str], names: Names) -> None:
    """Secrets of another database are not ours to replace."""
    for setting in ("MIGRATE_DATABASE_URL", "AUTH_DATABASE_URL", "CORE_DATABASE_URL"):
        if setting in known and (found := server.database_of(known[setting])) != names.database:
            raise StackError(
                f"{setting} is kept already and is for the database {found}: say --database-name {found}, or remove it"
            )
