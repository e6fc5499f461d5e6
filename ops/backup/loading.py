"""Puts a dump in the place of what the database holds, in one transaction: it is all there, or nothing has changed.

pg_restore turns the dump into SQL, psql runs it. Before COMMIT the rows of every table are counted and compared with
the manifest. psql ends a transaction that it is not told to commit with a rollback, so whatever happens to us, and
whatever happens to the server, leaves the data that was there.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from ops.backup.database import SCHEMAS, connected
from ops.backup.errors import BackupFailed
from ops.backup.manifest import Database
from ops.backup.streams import Sql, psql, sql_of
from ops.migrate.database import LOCK_KEY, SERVICE_SCHEMAS, said

_COPY_BYTES = 1 << 20
_HEAD_LINES = 60
_LOADED = b"loaded\n"
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
        psql(owner_url) as script,
        sql_of(path, passphrase, progress, keeps_rights=keeps_rights) as sql,
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


def _without_unknown_settings(sql: Sql, server: int) -> Iterator[bytes]:
    """The head of the script, where pg_restore makes its settings, without those that are too new for the server."""
    unknown = tuple(setting for setting, since in _SETTINGS.items() if server < since)
    for _ in range(_HEAD_LINES):
        line = sql.readline()
        if not (unknown and line.startswith(unknown)):
            yield line
