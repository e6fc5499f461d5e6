"""The database's part: pg_dump's custom format, and what was counted in the same snapshot."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any, BinaryIO

import psycopg
from psycopg import sql

from ops.backup import tools
from ops.backup.archive import Writer
from ops.backup.errors import BackupFailed
from ops.backup.manifest import Database
from ops.migrate.database import SERVICE_SCHEMAS, VERSION_SCHEMA, Connection, MigrationFailed, connect, said

SCHEMAS = (VERSION_SCHEMA, *SERVICE_SCHEMAS)
PIECE_BYTES = 8 << 20
FOLDER = "database/"

_TABLES = """
    SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind = 'r' AND nspname = ANY (%s) ORDER BY 1, 2
"""
# Of whom the rights in these schemas speak: on the schemas, on what is in them, and by default.
_ROLES = """
    SELECT DISTINCT rolname FROM (
        SELECT nspacl AS acl FROM pg_namespace WHERE nspname = ANY (%(schemas)s)
        UNION ALL SELECT relacl FROM pg_class WHERE relnamespace = ANY (%(oids)s)
        UNION ALL SELECT proacl FROM pg_proc WHERE pronamespace = ANY (%(oids)s)
        UNION ALL SELECT typacl FROM pg_type WHERE typnamespace = ANY (%(oids)s)
        UNION ALL SELECT defaclacl FROM pg_default_acl WHERE defaclnamespace = ANY (%(oids)s)
    ) AS rights, aclexplode(acl), pg_roles
    WHERE pg_roles.oid IN (grantee, grantor) ORDER BY 1
"""
_OIDS = "SELECT array_agg(oid) FROM pg_namespace WHERE nspname = ANY (%s)"
_EXTENSIONS = """
    SELECT extname, nspname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
    WHERE extname <> 'plpgsql' ORDER BY 1
"""
_HAS_HEADS = "SELECT to_regclass('gatehouse.alembic_version')"
_HEADS = "SELECT version_num FROM gatehouse.alembic_version ORDER BY 1"
_SIZE = """
    SELECT coalesce(sum(pg_table_size(pg_class.oid)), 0)::bigint FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE relkind = 'r' AND nspname = ANY (%s)
"""


def back_up(owner_url: str, writer: Writer, progress: Callable[[int, int], None]) -> Database:
    """Writes the dump in pieces; `progress(bytes written, estimate of all)`. Raises BackupFailed."""
    # Not compressed: the archive is.
    words = ["--format=custom", "--compress=0"]
    return _back_up(
        owner_url, words, lambda dump, estimate: _write_pieces(dump, writer, lambda done: progress(done, estimate))
    )


def back_up_plain(owner_url: str, target: BinaryIO | GzipFile, progress: Callable[[int, int], None]) -> Database:
    """SQL that psql runs in an empty database, for whoever owns that. Raises BackupFailed."""

    def copy(dump: IO[bytes], estimate: int) -> None:
        written = 0
        while data := dump.read(1 << 20):
            target.write(data)
            written += len(data)
            progress(written, estimate)

    return _back_up(owner_url, ["--format=plain", "--no-owner", "--no-privileges"], copy)


def _back_up(owner_url: str, words: list[str], consume: Callable[[IO[bytes], int], None]) -> Database:
    try:
        with _snapshot(owner_url) as (connection, name):
            estimate = int(_value(connection.execute(_SIZE, (list(SCHEMAS),))))
            described, folder = _describe(connection)
            words = [*words, f"--snapshot={name}"]
            _dump(owner_url, folder / "pg_dump", words, lambda dump: consume(dump, estimate))
            return described
    except psycopg.Error as error:
        raise BackupFailed(f"the database cannot be read: {said(error)}") from None


def connected(owner_url: str) -> Connection:
    """As the owner, autocommit. Raises BackupFailed when the database cannot be reached."""
    try:
        return connect(owner_url)
    except MigrationFailed as error:
        raise BackupFailed(str(error)) from None


@contextmanager
def _snapshot(owner_url: str) -> Iterator[tuple[psycopg.Connection[Any], str]]:
    """A connection in a transaction whose view of the data others can take on, by its name, as long as it lasts."""
    with connected(owner_url) as connection:
        # Some servers end who waits in a transaction, or a count that takes long: as pg_dump does, we say no to both.
        connection.execute("SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0")
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield connection, str(_value(connection.execute("SELECT pg_export_snapshot()")))


def _describe(connection: psycopg.Connection[Any]) -> tuple[Database, Path]:
    """The manifest's entry, and where the programs are that can dump this server."""
    server = connection.info.server_version // 10_000
    tool, folder = tools.for_server(server)
    schemas = list(SCHEMAS)
    oids = _value(connection.execute(_OIDS, (schemas,))) or []
    has_heads = _value(connection.execute(_HAS_HEADS)) is not None
    described = Database(
        server=server,
        tool=tool,
        owner=connection.info.user,
        roles=[row[0] for row in connection.execute(_ROLES, {"schemas": schemas, "oids": oids})],
        extensions=[list(row) for row in connection.execute(_EXTENSIONS)],
        heads=[row[0] for row in connection.execute(_HEADS)] if has_heads else [],
        rows=count_rows(connection),
    )
    return described, folder


def count_rows(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """ "schema.table" → rows, of every table of ours; of partitioned ones their partitions."""
    tables = connection.execute(_TABLES, (list(SCHEMAS),)).fetchall()
    return {f"{schema}.{table}": _count(connection, schema, table) for schema, table in tables}


def _count(connection: psycopg.Connection[Any], schema: str, table: str) -> int:
    statement = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))
    return int(_value(connection.execute(statement)))


def _value(cursor: psycopg.Cursor[Any]) -> Any:
    row = cursor.fetchone()
    return row[0] if row else None


def _dump(owner_url: str, program: Path, words: list[str], consume: Callable[[IO[bytes]], None]) -> None:
    """What pg_dump writes goes to `consume`. A lock that is not to be had (a migration runs) is waited for so long."""
    command: list[str | Path] = [
        program,
        *words,
        "--lock-wait-timeout=60s",
        *(f"--schema={schema}" for schema in SCHEMAS),
    ]
    with tempfile.TemporaryFile() as said_by_it:
        with subprocess.Popen(
            command,
            env=tools.environment(owner_url),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said_by_it,
        ) as process:
            assert process.stdout
            try:
                consume(process.stdout)
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            said_by_it.seek(0)
            raise BackupFailed(f"pg_dump failed: {tools.complaint(said_by_it.read().decode(errors='replace'))}")


def _write_pieces(dump: IO[bytes], writer: Writer, progress: Callable[[int], None]) -> None:
    """A tar wants to know each size in advance; a piece is what may be in memory."""
    written = number = 0
    while piece := dump.read(PIECE_BYTES):
        writer.add_bytes(f"{FOLDER}{number:05}", piece)
        number, written = number + 1, written + len(piece)
        progress(written)
