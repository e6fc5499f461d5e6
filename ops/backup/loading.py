"""Puts a dump in the place of what the database holds, in one transaction: it is all there, or nothing has changed.

pg_restore turns the dump into SQL, psql runs it. Before COMMIT the rows of every table are counted and compared with
the manifest. psql ends a transaction that it is not told to commit with a rollback, so whatever happens to us, and
whatever happens to the server, leaves the data that was there.
"""

import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psycopg

from ops.backup import archive, tools
from ops.backup.database import FOLDER, SCHEMAS, connected
from ops.backup.errors import BackupFailed
from ops.backup.manifest import Database
from ops.migrate.database import LOCK_KEY, SERVICE_SCHEMAS, said

_COPY_BYTES = 1 << 20
_HEAD_LINES = 60
_LOADED = b"loaded\n"
_END_SECONDS = 30
_ROLES = "SELECT rolname FROM pg_roles"
# Settings that pg_dump sends ahead and older servers do not know: the first server version that does.
_SETTINGS = {b"SET transaction_timeout = ": 17}

_BEGIN = f"""
\\o /dev/null
BEGIN;
SET LOCAL lock_timeout = '30s';
DO $$ BEGIN
    IF NOT pg_try_advisory_xact_lock({LOCK_KEY}) THEN
        RAISE EXCEPTION 'a migration of this database is running: try again when it is done';
    END IF;
END $$;
"""
# The schemas stay, with the rights on them: making one takes a right that an owner of schemas need not have.
_CLEAR = """
DO $$
DECLARE
    ours CONSTANT oid[] := ARRAY(SELECT oid FROM pg_namespace WHERE nspname IN ({schemas}));
    command text;
BEGIN
    FOREACH command IN ARRAY ARRAY(
        SELECT format('DROP %s IF EXISTS %I.%I CASCADE', CASE relkind WHEN 'v' THEN 'VIEW'
            WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE'
            WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, relnamespace::regnamespace, relname)
        FROM pg_class WHERE relnamespace = ANY (ours) AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
        ORDER BY relkind = 'S'  -- most of them go with their table
    ) || ARRAY(
        SELECT format('DROP ROUTINE IF EXISTS %I.%I(%s) CASCADE', pronamespace::regnamespace, proname,
            pg_get_function_identity_arguments(oid))
        FROM pg_proc WHERE pronamespace = ANY (ours)
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
    ) || ARRAY(
        SELECT format('DROP TYPE IF EXISTS %I.%I CASCADE', typnamespace::regnamespace, typname)
        FROM pg_type WHERE typnamespace = ANY (ours) AND typtype IN ('e', 'd', 'r')
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_type.oid AND deptype = 'e')
    ) LOOP
        EXECUTE command;
    END LOOP;
END $$;
"""
_MAKE_SCHEMA = """
DO $$ BEGIN IF to_regnamespace({name}) IS NULL THEN CREATE SCHEMA {identifier}; END IF; END $$;
"""
# One that this server does not have, or that we may not make, is left to the dump to miss.
_MAKE_EXTENSION = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = {name} AND installed_version IS NULL) THEN
        CREATE EXTENSION {identifier} SCHEMA {schema};
    END IF;
EXCEPTION WHEN insufficient_privilege OR undefined_file OR invalid_schema_name THEN
    RAISE NOTICE 'no extension %', {name};
END $$;
"""
_CHECK = """
DO $$ DECLARE found bigint := (SELECT count(*) FROM {table}); BEGIN
    IF found <> {rows} THEN RAISE EXCEPTION '% has % rows instead of %', {name}, found, {rows}; END IF;
END $$;
"""


def load(
    owner_url: str,
    path: Path,
    passphrase: str | None,
    dumped: Database,
    *,
    before_commit: Callable[[], None] = lambda: None,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """`before_commit` is called when everything is in and counted; what it raises undoes the whole.

    `progress(bytes of the dump)`. Raises BackupFailed; then the database is as it was.
    """
    server, keeps_rights = _target(owner_url, dumped)
    with (
        _psql(owner_url) as script,
        _sql_of(path, passphrase, progress, keeps_rights=keeps_rights) as sql,
    ):
        script.write(_opening(dumped))
        for line in _without_unknown_settings(sql, server):
            script.write(line)
        while data := sql.read(_COPY_BYTES):
            script.write(data)
        sql.finish()
        script.write(_checks(dumped))
        script.await_word(_LOADED)
        before_commit()
        script.write(b"COMMIT;\n")
        script.close()


def _target(owner_url: str, dumped: Database) -> tuple[int, bool]:
    """The server's major version, and whether everybody whom the dump's rights name is there."""
    try:
        with connected(owner_url) as connection:
            there = {row[0] for row in connection.execute(_ROLES)}
            is_same_owner = connection.info.user == dumped.owner
            return connection.info.server_version // 10_000, is_same_owner and set(dumped.roles) <= there
    except psycopg.Error as error:
        raise BackupFailed(f"the database cannot be read: {said(error)}") from None


def all_roles_exist(owner_url: str) -> bool:
    """Whether the services' own roles are there, which are named after the database. Raises BackupFailed."""
    with connected(owner_url) as connection:
        there = {row[0] for row in connection.execute(_ROLES)}
        return {f"{connection.info.dbname}_{schema}" for schema in SERVICE_SCHEMAS} <= there


def _opening(dumped: Database) -> bytes:
    parts = [_BEGIN, _CLEAR.replace("{schemas}", ", ".join(map(_literal, SCHEMAS)))]
    parts += [_MAKE_SCHEMA.format(name=_literal(name), identifier=_identifier(name)) for name in SCHEMAS]
    parts += [
        _MAKE_EXTENSION.format(name=_literal(name), identifier=_identifier(name), schema=_identifier(schema))
        for name, schema in dumped.extensions
    ]
    return "".join(parts).encode()


def _checks(dumped: Database) -> bytes:
    checks = []
    for name, rows in dumped.rows.items():
        table = ".".join(_identifier(part) for part in name.split(".", 1))
        checks.append(_CHECK.format(table=table, rows=int(rows), name=_literal(name)))
    return ("".join(checks) + f"\\echo {_LOADED.decode()}").encode()


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    """For use between dollars too."""
    if "$$" in text or "\\" in text:
        raise BackupFailed(f"the archive names {text!r}, which is no name that Gatehouse uses")
    return "'" + text.replace("'", "''") + "'"


def _without_unknown_settings(sql: "_Sql", server: int) -> Iterator[bytes]:
    """The head of the script, where pg_restore makes its settings, without those that are too new for the server."""
    unknown = tuple(setting for setting, since in _SETTINGS.items() if server < since)
    for _ in range(_HEAD_LINES):
        line = sql.readline()
        if not (unknown and line.startswith(unknown)):
            yield line


class _Sql:
    """What pg_restore makes of the dump; it is fed from the archive in a thread of its own."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], feed: Callable[[IO[bytes]], None]) -> None:
        assert process.stdin
        assert process.stdout
        self._process = process
        self._errors = errors
        self._failure: BaseException | None = None
        self.read, self.readline = process.stdout.read, process.stdout.readline
        self._thread = threading.Thread(target=self._run, args=(feed, process.stdin), daemon=True)
        self._thread.start()

    def _run(self, feed: Callable[[IO[bytes]], None], target: IO[bytes]) -> None:
        try:
            with target:
                feed(target)
        except BrokenPipeError:
            pass  # it has said why
        except BaseException as error:  # noqa: BLE001 - told where it is asked for
            self._failure = error
            self._process.kill()

    def abandon(self) -> None:
        """Ends it and its feeding."""
        self._process.kill()
        self._thread.join()

    def finish(self) -> None:
        """Raises BackupFailed unless the dump was whole."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        if self._process.wait():
            self._errors.seek(0)
            text = self._errors.read().decode(errors="replace")
            raise BackupFailed(f"pg_restore failed: {tools.complaint(text)}")


@contextmanager
def _sql_of(
    path: Path, passphrase: str | None, progress: Callable[[int], None], *, keeps_rights: bool
) -> Iterator[_Sql]:
    words: list[str | Path] = [tools.newest() / "pg_restore", "--no-owner", "--file=-"]
    words += [f"--schema={schema}" for schema in SCHEMAS]
    words += [] if keeps_rights else ["--no-privileges"]

    def feed(target: IO[bytes]) -> None:
        done = 0
        with archive.reading(path, passphrase) as members:
            for name, content in members:
                while name.startswith(FOLDER) and (data := content.read(_COPY_BYTES)):
                    target.write(data)
                    done += len(data)
                    progress(done)

    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=errors, start_new_session=True) as process,
    ):
        sql = _Sql(process, errors, feed)
        try:
            yield sql
        except BaseException:
            sql.abandon()
            raise


class _Script:
    """psql, which stops at the first error."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors

    def write(self, text: bytes) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(text)
        except BrokenPipeError:
            raise self._failure() from None

    def await_word(self, word: bytes) -> None:
        """Until it has done all that it was given, and says so."""
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.flush()
        if self._process.stdout.readline() != word:
            raise self._failure()

    def close(self) -> None:
        """Its end, which must be a good one."""
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._process.wait():
            raise self._failure()

    def _failure(self) -> BackupFailed:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace")
        return BackupFailed(f"the database refused the dump: {tools.complaint(text)}")


@contextmanager
def _psql(owner_url: str) -> Iterator[_Script]:
    words: list[str | Path] = [
        tools.newest() / "psql",
        "--no-psqlrc",
        "--quiet",
        "--no-password",
        "--set=ON_ERROR_STOP=1",
    ]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [*words, "--file=-"],
            env=tools.environment(owner_url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # a Ctrl-C is ours to act upon
        ) as process,
    ):
        try:
            yield _Script(process, errors)
        except BaseException:
            process.kill()
            with suppress(BrokenPipeError):
                process.communicate()
            raise
