"""Prepares an empty PostgreSQL for Gatehouse: a database, its owner, and a role of few rights for each service.

The administrator need not be a superuser: CREATEDB and CREATEROLE are enough, as managed servers give them. Nobody made
here may create roles or databases. The same statements are run or printed (`script`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg
from psycopg import sql

from ops.migrate.database import CONNECT_SECONDS, said
from ops.stack.errors import StackError

ROLES = ("owner", "auth", "core")
# A role → the settings that hold its URL and, where there is one, its password alone.
_URLS = {"owner": "MIGRATE_DATABASE_URL", "auth": "AUTH_DATABASE_URL", "core": "CORE_DATABASE_URL"}
URLS = tuple(_URLS.values())
_PASSWORDS = {"auth": "AUTH_DB_PASSWORD", "core": "CORE_DB_PASSWORD"}


@dataclass(frozen=True)
class Names:
    """Roles belong to the whole server, so they are named after the database."""

    database: str = "gatehouse"

    def role(self, kind: str) -> str:
        return f"{self.database}_{kind}"


class _Step(NamedTuple):
    """`text` is run unless `unless` finds a row; both are format strings over the names."""

    what: str
    text: str
    unless: str = ""
    in_database: bool = False


_ROLE = "SELECT 1 FROM pg_roles WHERE rolname = {role!l}"
_NOT_SUPERUSER = "SELECT 1 FROM pg_roles WHERE rolname = current_user AND rolsuper"


def _steps() -> Iterator[_Step]:
    for kind in ROLES:
        yield _Step(f"role {{{kind}}} made", f"CREATE ROLE {{{kind}}}", _ROLE.replace("{role!l}", f"{{{kind}!l}}"))
        yield _Step("", f"ALTER ROLE {{{kind}}} LOGIN PASSWORD {{{kind}!p}}")
    # Only a member of the owner may give it a database; PostgreSQL 16 and newer make no member of who creates a role.
    yield _Step("", "GRANT {owner} TO CURRENT_USER", _NOT_SUPERUSER)
    yield _Step(
        "database {database} made",
        "CREATE DATABASE {database} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8'",
        "SELECT 1 FROM pg_database WHERE datname = {database!l}",
    )
    # One that was there belongs to somebody else, perhaps.
    yield _Step("", "GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {database} TO {owner}")
    yield _Step("", "REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    yield _Step("", "GRANT CONNECT ON DATABASE {database} TO {auth}, {core}")
    # Servers that began before version 15 let everybody create tables in `public`.
    yield _Step(
        "",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a"
        " WHERE n.nspname = 'public' AND a.grantee = 0 AND a.privilege_type = 'CREATE')",
        in_database=True,
    )
    yield _Step("", "REVOKE {owner} FROM CURRENT_USER", _NOT_SUPERUSER)


def script(names: Names, passwords: Mapping[str, str] | None = None) -> str:
    """The SQL for psql, safe to repeat. Without `passwords` (role → password) psql must be given them as variables."""
    variables = " ".join(f"-v {kind}_password=…" for kind in ROLES)
    lines = [
        f"-- Prepares the database {names.database}. As an administrator (superuser, or CREATEDB and CREATEROLE):",
        f'--   psql "$ADMIN_URL" -v ON_ERROR_STOP=1{"" if passwords else " " + variables} -f this-file.sql',
        *(f"\\set {kind}_password {_psql_quoted(password)}" for kind, password in (passwords or {}).items()),
    ]
    for step in _steps():
        if step.in_database:
            lines.append(f"\\connect {_identifier(names.database)}")
        text = _formatted(step.text, names, password=lambda kind: f":'{kind}_password'")
        # Not in a DO block: psql would not fill in its variables there, and CREATE DATABASE is not allowed in one.
        lines.append(f"{text};" if not step.unless else _conditional(text, _formatted(step.unless, names)))
    return "\n".join(lines) + "\n"


def _conditional(text: str, unless: str) -> str:
    return f"SELECT {_quoted(text)} WHERE NOT EXISTS ({unless}) \\gexec"


def make_ready(admin_url: str, names: Names, passwords: Mapping[str, str], *, sets_passwords: bool = True) -> list[str]:
    """What was made, a sentence each. `passwords` is by role: owner, auth, core. Raises StackError."""
    made = []
    with _connected(admin_url) as server:
        for step in _steps():
            if step.text.endswith("!p}") and not sets_passwords:
                continue
            if step.in_database:
                with _connected(on_database(admin_url, names.database)) as database:
                    _run(database, step, names, passwords)
            elif _run(server, step, names, passwords) and step.what:
                made.append(step.what.format(**{kind: names.role(kind) for kind in ROLES}, database=names.database))
    return made


def _run(connection: psycopg.Connection[Any], step: _Step, names: Names, passwords: Mapping[str, str]) -> bool:
    def verifier(kind: str) -> str:
        # Made here, so that the password itself never reaches the server or its log (RFC 5803).
        encrypted = connection.pgconn.encrypt_password(
            passwords[kind].encode(), names.role(kind).encode(), b"scram-sha-256"
        )
        return _quoted(encrypted.decode())

    try:
        if step.unless and connection.execute(_formatted(step.unless, names).encode()).fetchone():
            return False
        connection.execute(_formatted(step.text, names, password=verifier).encode())
    except psycopg.Error as error:
        doing = _formatted(step.text, names, password=lambda _kind: "…")
        raise StackError(f"the administrator may not: {doing}: {said(error)}") from None
    return True


def existing_roles(admin_url: str, names: Names) -> list[str]:
    """Which of the three roles are there, by kind. Raises StackError."""
    with _connected(admin_url) as connection:
        rows = connection.execute("SELECT rolname FROM pg_roles").fetchall()
    found = {row[0] for row in rows}
    return [kind for kind in ROLES if names.role(kind) in found]


def can_sign_in(urls: Mapping[str, str]) -> bool:
    """Whether every one of the roles gets into the database with its URL."""
    try:
        for name in _URLS.values():
            psycopg.connect(urls[name], connect_timeout=CONNECT_SECONDS).close()
    except (KeyError, psycopg.Error):
        return False
    return True


def passwords_in(found: Mapping[str, str]) -> dict[str, str]:
    """The passwords that settings already hold, by role; `found` is setting → value."""
    passwords = {kind: found[name] for kind, name in _PASSWORDS.items() if found.get(name)}
    for kind, name in _URLS.items():
        if found.get(name) and (password := psycopg.conninfo.conninfo_to_dict(found[name]).get("password")):
            passwords.setdefault(kind, str(password))
    return passwords


def settings(base_url: str, names: Names, passwords: Mapping[str, str]) -> dict[str, str]:
    """What the services must be told: setting → value. `base_url` says where the server is; its user is not used."""
    urls = {
        setting: _as(base_url, names.role(kind), passwords[kind], names.database) for kind, setting in _URLS.items()
    }
    return urls | {setting: passwords[kind] for kind, setting in _PASSWORDS.items()}


def on_database(url: str, database: str) -> str:
    """The same server and user, another database."""
    parts = urlsplit(url)
    options = [(name, value) for name, value in parse_qsl(parts.query) if name != "dbname"]
    return _url(parts.scheme, parts.netloc, database, options)


def database_of(url: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(url).get("dbname", ""))


def _as(url: str, user: str, password: str, database: str) -> str:
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    options = [(name, value) for name, value in parse_qsl(parts.query) if name not in {"user", "password", "dbname"}]
    return _url(parts.scheme, f"{quote(user, safe='')}:{quote(password, safe='')}@{address}", database, options)


def _url(scheme: str, netloc: str, database: str, options: Sequence[tuple[str, str]]) -> str:
    """Not urlunsplit: it leaves the slashes out where the host is empty, as in postgresql:///name?host=/run."""
    query = f"?{urlencode(options, quote_via=quote)}" if options else ""
    return f"{scheme}://{netloc}/{quote(database, safe='')}{query}"


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_SECONDS)
    except psycopg.Error as error:
        raise StackError(f"the database server cannot be reached as administrator: {said(error)}") from None
    with connection:
        yield connection


def _formatted(text: str, names: Names, *, password: Callable[[str], str] | None = None) -> str:
    """`{owner}` the quoted name, `{owner!l}` the name as a text, `{owner!p}` its password."""
    values = {"database": names.database, **{kind: names.role(kind) for kind in ROLES}}
    for kind, name in values.items():
        text = text.replace(f"{{{kind}}}", _identifier(name)).replace(f"{{{kind}!l}}", _quoted(name))
        if password is not None and f"{{{kind}!p}}" in text:
            text = text.replace(f"{{{kind}!p}}", password(kind))
    return text


def _identifier(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _psql_quoted(text: str) -> str:
    """As psql's own commands read it: there a backslash escapes."""
    return _quoted(text.replace("\\", "\\\\"))
