"""The roles that reach PostgreSQL, the way to it, and whether a pooler stands in between that nobody told us of."""

from collections.abc import Iterator
from typing import Any

import psycopg

from ops.embedded import Postgres
from ops.migrate.database import said
from ops.stack.configuration import where
from ops.stack.database import running_url
from ops.stack.doctor import Finding
from ops.stack.doctor.production.exposure import is_loopback
from ops.stack.doctor.production.host import Host

_CONNECT_SECONDS = 5
_RIGHTS = "SELECT rolname, rolsuper, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname = current_user"
_BACKEND = "SELECT pg_backend_pid()"
_TLS = ("require", "verify-ca", "verify-full")


def check(host: Host) -> Iterator[Finding]:
    urls = _urls(host)
    if not urls:
        yield Finding("Database role", "skip", "no database is set, and the embedded one is not running")
        return
    for url in urls:
        yield _way(url)
        try:
            yield _role(host, url)
            yield _pooler(host, url)
        except psycopg.Error as error:
            fix = "check DATABASE_URL and that the server runs"
            yield Finding("Database role", "fail", f"{where(url, 5432)}: {said(error)}", fix)


def _urls(host: Host) -> list[str]:
    """What auth and core connect with: one, where both have the same."""
    shared = host.variable("DATABASE_URL") or host.configuration.owner_url
    if shared is None and not host.configuration.faults:
        shared = running_url(Postgres, host.configuration)
    given = [host.variable(name) or shared for name in ("AUTH_DATABASE_URL", "CORE_DATABASE_URL")]
    return list(dict.fromkeys(url for url in given if url))


def _connect(url: str) -> psycopg.Connection[Any]:
    # What is not prepared can go through any pooler.
    return psycopg.connect(url, connect_timeout=_CONNECT_SECONDS, autocommit=True, prepare_threshold=None)


def _role(host: Host, url: str) -> Finding:
    """Of the services. With MIGRATE_DATABASE_URL each gets its own, which `ops/migrate/roles.py` makes small."""
    if host.configuration.has_owner and not host.variable("AUTH_DATABASE_URL", "CORE_DATABASE_URL"):
        return Finding("Database role", "ok", "each service has a role of its own, without rights beyond its rows")
    if host.configuration.uses_embedded_postgres:
        return Finding("Database role", "ok", "the embedded server's roles are small ones")
    with _connect(url) as connection:
        row = connection.execute(_RIGHTS).fetchone()
    assert row
    rights = [name for name, has in zip(("superuser", "createrole", "bypassrls"), row[1:], strict=True) if has]
    if rights:
        fix = "let the services use a plain role: set MIGRATE_DATABASE_URL to the owner, and each gets one"
        state = "fail" if row[1] else "warn"
        return Finding("Database role", state, f"the services connect as {row[0]}, {', '.join(rights)}", fix)  # type: ignore[arg-type]
    return Finding("Database role", "ok", f"{row[0]} is no superuser")


def _way(url: str) -> Finding:
    """Passwords and rows in the clear belong on this machine only."""
    try:
        found = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        return Finding("Database TLS", "skip", "the URL cannot be read")
    # Wherever the URL says it: `postgresql:///name?host=db.example.com` is no socket of this machine.
    names, mode = str(found.get("host") or ""), str(found.get("sslmode") or "")
    if all(is_loopback(name) for name in names.split(",")) or mode in _TLS:
        return Finding("Database TLS", "ok", f"sslmode={mode}" if mode else "on this machine")
    fix = "add ?sslmode=require (better verify-full) to its URL, unless the network between is yours alone"
    return Finding("Database TLS", "warn", f"{names} is reached with sslmode={mode or 'prefer'}", fix)


def _pooler(host: Host, url: str) -> Finding:
    """Two clients at once on one backend: that is what a pooler in transaction mode does, and nothing else."""
    told = host.variable("DATABASE_POOLER") or "none"
    owner = host.configuration.owner_url
    if owner and owner != url and shares_backends(owner):
        fix = "set MIGRATE_DATABASE_URL to the server itself: migrations hold locks over several transactions"
        return Finding("Pooler", "fail", f"migrations go through a pooler at {where(owner, 5432)}", fix)
    if shares_backends(url) and told != "transaction":
        fix = "set DATABASE_POOLER=transaction, and MIGRATE_DATABASE_URL to the server itself"
        return Finding("Pooler", "fail", f"{where(url, 5432)} pools transactions; DATABASE_POOLER={told}", fix)
    return Finding("Pooler", "ok", f"DATABASE_POOLER={told}, as it behaves")


def shares_backends(url: str) -> bool:
    with _connect(url) as one, _connect(url) as other:
        seen = {connection.execute(_BACKEND).fetchone() for connection in (one, other, one, other)}
    return len(seen) == 1
