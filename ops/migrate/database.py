"""The owner's connection: alone, bounded in time, and plain-spoken when something fails."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy.exc import DBAPIError

Connection = psycopg.Connection[Any]

VERSION_SCHEMA = "gatehouse"
SERVICE_SCHEMAS = ("auth", "core")
LOCK_KEY = 0x6761_7465_686F_7573  # "gatehous": any number that nobody else locks
LOCK_POLL_SECONDS = 0.1
LOCK_SECONDS = 60.0
LOCK_TIMEOUT = "10s"
STATEMENT_TIMEOUT = "10min"
CONNECT_SECONDS = 10
_POOLER_TRIES = 5  # other clients of a busy pooler may get in between


class MigrationFailed(Exception):
    """The text is one sentence: what was tried, what the database said; never a DSN."""


@contextmanager
def owner(
    database_url: str,
    *,
    lock_seconds: float = LOCK_SECONDS,
    lock_timeout: str = LOCK_TIMEOUT,
    statement_timeout: str = STATEMENT_TIMEOUT,
) -> Iterator[Connection]:
    """An autocommit connection that alone may change the schema, with time-outs set and the schemas made.

    Raises MigrationFailed when the database cannot be reached, is behind a transaction pooler, or another migration
    holds it for `lock_seconds`.
    """
    with connect(database_url, f"the database{_address(database_url)}") as connection:
        _refuse_transaction_pooler(connection, database_url)
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (lock_timeout,))
        connection.execute("SELECT set_config('statement_timeout', %s, false)", (statement_timeout,))
        _take_lock(connection, lock_seconds)
        try:
            for schema in (VERSION_SCHEMA, *SERVICE_SCHEMAS):
                _ensure_schema(connection, schema)
        except psycopg.Error as error:
            raise MigrationFailed(f"the schemas cannot be made: {said(error)}") from error
        yield connection


def said(error: BaseException) -> str:
    """The error's message on one line, as short as it comes."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    text = primary or next(iter(str(error).splitlines()), "") or type(error).__name__
    # libpq puts the address and the user before what it wants to say.
    return text.rpartition(" failed: ")[2].removeprefix("FATAL:").strip()


def connect(database_url: str, named: str = "the database") -> Connection:
    """As the owner, autocommit, without prepared statements. Raises MigrationFailed when it cannot be reached."""
    try:
        return psycopg.connect(database_url, autocommit=True, connect_timeout=CONNECT_SECONDS, prepare_threshold=None)
    except psycopg.Error as error:
        raise MigrationFailed(f"{named} cannot be reached: {said(error)}") from error


def _refuse_transaction_pooler(connection: Connection, database_url: str) -> None:
    """Through one, our lock would stay behind in a server process that serves others next, and so would the time-outs.

    A pooler makes up the process number that a connection is told at its start. Proxies in front of a single session do
    so too; only a transaction pooler lets one server process serve two connections in turn.
    """
    if _backend(connection) == connection.info.backend_pid:
        return
    with connect(database_url, f"the database{_address(database_url)}") as other:
        for _ in range(_POOLER_TRIES):
            before = _backend(connection)
            with other.transaction():
                is_shared = _backend(other) == before
            if is_shared:
                raise MigrationFailed(
                    f"the database{_address(database_url)} is behind a transaction pooler, and migrations need a "
                    "direct connection: set MIGRATE_DATABASE_URL to one, and DATABASE_POOLER=transaction for the "
                    "services"
                )


def _backend(connection: Connection) -> int | None:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row[0] if row else None


def _address(database_url: str) -> str:
    try:
        parts = psycopg.conninfo.conninfo_to_dict(database_url)
    except psycopg.Error:
        return ""
    return f" at {parts.get('host', 'localhost')}:{parts.get('port', 5432)}"


def _take_lock(connection: Connection, seconds: float) -> None:
    """Polled, because a statement that waits holds a snapshot, which CREATE INDEX CONCURRENTLY would wait for."""
    deadline = time.monotonic() + seconds
    while True:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone()
        if row and row[0]:
            return
        if time.monotonic() > deadline:
            raise MigrationFailed(f"another migration of this database has been running for more than {seconds:g} s")
        time.sleep(LOCK_POLL_SECONDS)


def _ensure_schema(connection: Connection, name: str) -> None:
    """Asked first: CREATE SCHEMA IF NOT EXISTS wants the right to create even where there is nothing to do."""
    if not connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (name,)).fetchone():
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
