"""Migrations tried on a copy first: how long each takes on this data, and whom its locks would keep waiting."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from ops.migrate.copying import copied
from ops.migrate.database import Connection, MigrationFailed
from ops.migrate.runner import migrate

# Lock mode → whom it keeps waiting, the mildest first. Source: PostgreSQL's documentation, 13.3 Explicit Locking.
BLOCKS = {
    "AccessShareLock": "nobody",
    "RowShareLock": "nobody",
    "RowExclusiveLock": "nobody",
    "ShareUpdateExclusiveLock": "other schema changes",
    "ShareLock": "writes",
    "ShareRowExclusiveLock": "writes",
    "ExclusiveLock": "writes",
    "AccessExclusiveLock": "reads and writes",
}
_MODES = list(BLOCKS)
_TABLES = """
    SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname IN ('auth', 'core')
"""
_LOCKS = """
    SELECT c.oid::bigint, n.nspname || '.' || c.relname, l.mode, greatest(c.reltuples, 0)::bigint
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted
      AND c.relkind IN ('r', 'p', 'm') AND n.nspname IN ('auth', 'core')
    ORDER BY 2
"""
_SIZE = "SELECT pg_database_size(current_database())"


@dataclass(frozen=True)
class Lock:
    """The strongest lock that a migration took on a table that was there before it; held until its end.

    rows    as many as the table has, by PostgreSQL's own estimate
    """

    table: str
    mode: str
    blocks: str
    rows: int


@dataclass(frozen=True)
class Rehearsed:
    revision: str
    seconds: float
    locks: tuple[Lock, ...]


@dataclass
class Rehearsal:
    """`copied_by` is how the copy was made (`copying.Copy.how`); `failure` is the sentence of the one that failed."""

    copied_by: str
    copy_seconds: float
    copy_bytes: int
    migrations: list[Rehearsed] = field(default_factory=list)
    failure: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def rehearse(
    owner_url: str, modules: Sequence[str] | None = None, *, locations: Mapping[str, Path] | None = None
) -> Rehearsal:
    """Applies what is pending to a copy of the database, which is removed. Raises MigrationFailed without a copy.

    `modules` and `locations` are as for `migrate`.
    """
    began = time.monotonic()
    with copied(owner_url) as copy:
        seconds = round(time.monotonic() - began, 3)
        with psycopg.connect(copy.url, autocommit=True) as connection:
            rehearsal = Rehearsal(copy.how, seconds, _size(connection))
            watch = _Watch({oid for (oid,) in connection.execute(_TABLES)}, rehearsal.migrations)
        try:
            migrate(copy.url, modules=modules, locations=locations, observer=watch)
        except MigrationFailed as error:
            rehearsal.failure = str(error)
    return rehearsal


class _Watch:
    """Looks at each migration's locks in its last moment: they are all held until the commit."""

    def __init__(self, tables: set[int], done: list[Rehearsed]) -> None:
        self._tables = tables  # that were there before
        self._done = done
        self._began = 0.0

    def begins(self, revision: str) -> None:
        del revision  # `has_run` says it too
        self._began = time.monotonic()

    def has_run(self, revision: str, connection: Connection) -> None:
        seconds = round(time.monotonic() - self._began, 3)
        strongest: dict[str, Lock] = {}
        for oid, table, mode, rows in connection.execute(_LOCKS).fetchall():
            before = strongest.get(table)
            if oid in self._tables and (before is None or _MODES.index(mode) > _MODES.index(before.mode)):
                strongest[table] = Lock(table, mode, BLOCKS[mode], rows)
        self._done.append(Rehearsed(revision, seconds, tuple(strongest.values())))
        self._tables |= {oid for (oid,) in connection.execute(_TABLES)}


def _size(connection: Connection) -> int:
    row = connection.execute(_SIZE).fetchone()
    return int(row[0]) if row else 0
