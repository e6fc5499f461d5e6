"""One least-privilege role per service: rows of its own schema and nothing else."""

from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from ops.migrate.database import SERVICE_SCHEMAS, Connection, MigrationFailed, owner, said

# A service reads and writes rows; tables, partitions and functions are made by the owner, in migrations.
GRANTS = (
    "GRANT CONNECT ON DATABASE {database} TO {role}",
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
    "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE, SELECT ON SEQUENCES TO {role}",
)


def create_roles(
    owner_url: str, passwords: Mapping[str, str], *, service_url: str | None = None, prefix: str = "gatehouse"
) -> dict[str, str]:
    """Make `<prefix>_auth` and `<prefix>_core`, or renew their passwords and rights.

    Safe to repeat, before and after migrate. `passwords` holds AUTH_DB_PASSWORD and CORE_DB_PASSWORD. Roles that are
    there and are not this owner's to alter keep their passwords: an administrator made them (`ops/setup/server.py`).
    Returns AUTH_DATABASE_URL and CORE_DATABASE_URL, which are `service_url` (a pooler, perhaps; default `owner_url`)
    with the role's name and password.
    Raises MigrationFailed, when the owner may not create roles for one.
    """
    urls = {}
    with owner(owner_url) as connection:
        for schema in SERVICE_SCHEMAS:
            role, password = f"{prefix}_{schema}", passwords[f"{schema.upper()}_DB_PASSWORD"]
            try:
                with connection.transaction():
                    _ensure_role(connection, role, password)
                    _grant(connection, role, schema)
            except psycopg.Error as error:
                raise MigrationFailed(f"role {role} cannot be set up: {said(error)}") from error
            urls[f"{schema.upper()}_DATABASE_URL"] = _as(service_url or owner_url, role, password)
    return urls


def _ensure_role(connection: Connection, role: str, password: str) -> None:
    name = sql.Identifier(role)
    is_there = connection.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    if not is_there:
        # Roles belong to the whole server, our lock to one database: another database's starter may be first.
        with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation), connection.transaction():
            connection.execute(sql.SQL("CREATE ROLE {}").format(name))
    # The verifier is made here so that the password itself never reaches the server or its log (RFC 5803).
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    try:
        with connection.transaction():
            connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, verifier))
    except psycopg.errors.InsufficientPrivilege:
        if not (is_there and is_there[0]):
            raise


def _grant(connection: Connection, role: str, schema: str) -> None:
    names = {
        "database": sql.Identifier(connection.info.dbname),
        "schema": sql.Identifier(schema),
        "role": sql.Identifier(role),
    }
    for statement in GRANTS:
        connection.execute(sql.SQL(statement).format(**names))


def _as(url: str, user: str, password: str) -> str:
    """The same URL for another user."""
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{address}").geturl()
