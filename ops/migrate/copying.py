"""A copy of a database to try things on, gone afterwards whatever happens."""

import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from ops.backup import tools
from ops.backup.errors import BackupFailed
from ops.embedded import Postgres, ServerError
from ops.interrupts import undisturbed
from ops.migrate.database import SERVICE_SCHEMAS, VERSION_SCHEMA, Connection, MigrationFailed, connect, said

_MAY_CREATE = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
_OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_EXTENSIONS = """
    SELECT extname, nspname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
    WHERE extname <> 'plpgsql' ORDER BY 1
"""
# pg_dump's opening lines set what older servers do not know.
_HEAD_LINES = 40
_UNKNOWN_BEFORE_17 = b"SET transaction_timeout = "
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Copy:
    """`how` is one of: template, dump, dump into an embedded server."""

    url: str
    how: str


@contextmanager
def copied(owner_url: str) -> Iterator[Copy]:
    """A copy of the database at `owner_url`: beside it where its owner may make one, else in a server of our own.

    Nobody who works in the original is disturbed. Raises MigrationFailed.
    """
    with connect(owner_url) as source:
        if not _value(source, _MAY_CREATE):
            with _embedded(source) as url:
                _dump_into(owner_url, url, source)
                yield Copy(url, "dump into an embedded server")
            return
        # Only a database without other sessions can be a template.
        is_quiet = _value(source, _OTHERS) == 0
        with _beside(source, owner_url, is_template=is_quiet) as (url, was_copied):
            if not was_copied:
                _dump_into(owner_url, url, source)
            yield Copy(url, "template" if was_copied else "dump")


@contextmanager
def _beside(source: Connection, owner_url: str, *, is_template: bool) -> Iterator[tuple[str, bool]]:
    """A new database on the same server, and whether it has the content already."""
    name = f"{source.info.dbname[:40]}_rehearsal_{secrets.token_hex(4)}"
    try:
        try:
            was_copied = _create(source, name, source.info.dbname if is_template else "template0")
        except psycopg.Error as error:
            raise MigrationFailed(f"database {name} cannot be made for the copy: {said(error)}") from None
        yield urlsplit(owner_url)._replace(path=f"/{name}").geturl(), was_copied and is_template
    finally:
        with undisturbed():
            _drop(source, owner_url, name)


def _create(source: Connection, name: str, template: str) -> bool:
    """Whether it was made from `template`; from the empty one when somebody came into it meanwhile."""
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    try:
        source.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
    except psycopg.errors.ObjectInUse:
        source.execute(statement.format(sql.Identifier(name), sql.Identifier("template0")))
        return False
    return True


def _drop(source: Connection, owner_url: str, name: str) -> None:
    """An interrupt in the middle of a statement leaves its connection unusable: then by a new one."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    try:
        source.execute(statement)
    except psycopg.Error:
        with connect(owner_url) as connection:
            connection.execute(statement)


@contextmanager
def _embedded(source: Connection) -> Iterator[str]:
    """A server of our own in a temporary directory, for owners who may not make databases."""
    with tempfile.TemporaryDirectory(prefix="gatehouse-rehearsal-") as folder:
        Path(folder).chmod(0o711)  # root's servers run as another user
        try:
            with Postgres(Path(folder) / "var", {"POSTGRES_PASSWORD": secrets.token_hex(24)}, durable=False) as server:
                yield server.url
        except ServerError as error:
            raise MigrationFailed(
                f"{source.info.user} may not make a database for the copy, and no server of our own starts: {error}; "
                f'"ALTER ROLE {source.info.user} CREATEDB" allows the first'
            ) from None


def _dump_into(owner_url: str, url: str, source: Connection) -> None:
    """Our schemas without owners and rights, which the server of the copy need not know."""
    try:
        _, programs = tools.for_server(source.info.server_version // 10_000)
        with connect(url) as copy:
            _make_extensions(source, copy)
            _pipe(programs, owner_url, url, is_old=copy.info.server_version < 170_000)
    except BackupFailed as error:
        raise MigrationFailed(f"the database cannot be copied: {error}") from None


def _make_extensions(source: Connection, copy: Connection) -> None:
    for name, schema in source.execute(_EXTENSIONS).fetchall():
        statement = sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {}")
        try:
            copy.execute(statement.format(sql.Identifier(name), sql.Identifier(schema)))
        except psycopg.Error:
            continue  # ours come with their migrations; whatever needs another one says so when it is missing


def _pipe(programs: Path, source_url: str, url: str, *, is_old: bool) -> None:
    schemas = [f"--schema={schema}" for schema in (VERSION_SCHEMA, *SERVICE_SCHEMAS)]
    dump = [str(programs / "pg_dump"), "--no-owner", "--no-privileges", "--lock-wait-timeout=60s", *schemas]
    load = [str(programs / "psql"), "--no-psqlrc", "--quiet", "--no-password", "--single-transaction"]
    load += ["--set=ON_ERROR_STOP=1", "--output=/dev/null"]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(dump, env=tools.environment(source_url), stdout=pipe, stderr=errors) as reading,
        subprocess.Popen(load, env=tools.environment(url), stdin=pipe, stderr=errors) as writing,
    ):
        assert reading.stdout
        assert writing.stdin
        try:
            _relay(reading.stdout, writing.stdin, is_old=is_old)
        except BaseException:
            reading.kill()
            writing.kill()
            raise
        if reading.wait() or writing.wait():
            errors.seek(0)
            raise BackupFailed(tools.complaint(errors.read().decode(errors="replace")))


def _relay(source: IO[bytes], target: IO[bytes], *, is_old: bool) -> None:
    try:
        with target:
            for _ in range(_HEAD_LINES):
                line = source.readline()
                if not (is_old and line.startswith(_UNKNOWN_BEFORE_17)):
                    target.write(line)
            while piece := source.read(_PIECE_BYTES):
                target.write(piece)
    except BrokenPipeError:
        source.close()  # psql has said why it ended


def _value(connection: Connection, query: str) -> object:
    row = connection.execute(query).fetchone()
    return row[0] if row else None
