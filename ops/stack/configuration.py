"""What `gatehouse up` itself must know, read where all settings are read; the services check theirs."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from common import settings
from common.settings import SettingsError, weakness
from ops import secrets
from ops.secrets import SecretsError
from ops.stack.errors import StackError
from ops.stack.place import Place

ADMIN_EMAIL = "admin@gatehouse.local"
# What the checks of the services see in place of the servers that are yet to be started.
PLACEHOLDERS = {"DATABASE_URL": "postgresql://embedded/gatehouse", "REDIS_URL": "redis://embedded/0"}
_OF_SERVICES = ("SECRET_KEY", "KEY_PEPPER", "AUTH_SERVICE_KEY", "CORE_SERVICE_KEY")
_OF_ROLES = ("AUTH_DB_PASSWORD", "CORE_DB_PASSWORD")
_TRUE = {"1", "true", "yes", "on"}


@dataclass(frozen=True)
class Configuration:
    """`database_url` and `redis_url` are None where the embedded servers are used.

    owner_url     who migrates: MIGRATE_DATABASE_URL, else DATABASE_URL; None when embedded
    has_owner     MIGRATE_DATABASE_URL is set, and not for the pooler's sake alone: each service gets a role of its own
    faults        variable → what is wrong with it
    """

    place: Place
    environ: Mapping[str, str]
    is_production: bool
    database_url: str | None
    redis_url: str | None
    owner_url: str | None
    has_owner: bool
    admin_email: str
    faults: Mapping[str, str] = field(default_factory=dict)

    @property
    def uses_embedded_postgres(self) -> bool:
        return self.owner_url is None

    @property
    def uses_embedded_valkey(self) -> bool:
        return self.redis_url is None

    def placeholders(self) -> dict[str, str]:
        """Stand-ins for the URLs that are not known before the embedded servers run."""
        wanted = {"DATABASE_URL": self.uses_embedded_postgres, "REDIS_URL": self.uses_embedded_valkey}
        return {name: PLACEHOLDERS[name] for name, missing in wanted.items() if missing and name not in self.faults}

    def secrets(self, *, makes: bool = False) -> dict[str, str]:
        """Every secret by name; in development what is missing is made, in production only where `makes` says so.

        Raises StackError.
        """
        try:
            if self.is_production and not makes:
                return self._found(secrets.NAMES)
            return secrets.ensure(self.place.var, self._given(), dotenv=self._found(secrets.NAMES))
        except (SecretsError, SettingsError) as error:
            raise StackError(str(error)) from None
        except OSError as error:
            raise StackError(f"the secrets cannot be kept: {error.strerror}: {error.filename}") from None

    def _given(self) -> dict[str, str]:
        """The environment, with the alias of SECRET_KEY in its place so that none is made beside it."""
        given = dict(self.environ)
        if not self._found(["SECRET_KEY"]) and (alias := self._found(["JWT_SECRET"])):
            given["SECRET_KEY"] = alias["JWT_SECRET"]
        return given

    def _found(self, names: Iterable[str]) -> dict[str, str]:
        return {name: value for name in names if (value := settings.variable(name, self.environ))}


class _Reader:
    """Looks variables up and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.faults: dict[str, str] = {}

    def get(self, *names: str) -> str | None:
        for name in names:
            try:
                if value := settings.variable(name, self._environ):
                    return value
            except SettingsError as error:
                self.faults[name] = str(error).partition(": ")[2]
        return None


def read(environ: Mapping[str, str] | None = None) -> Configuration:
    """Never raises for a value: see `faults`."""
    given = dict(os.environ if environ is None else environ)
    place = Place.find(given)
    given["GATEHOUSE_VAR"] = str(place.var)
    reader = _Reader(given)
    database, migrating = reader.get("DATABASE_URL"), reader.get("MIGRATE_DATABASE_URL")
    configuration = Configuration(
        place=place,
        environ=given,
        is_production=reader.get("ENV", "NODE_ENV") == "production",
        database_url=database,
        redis_url=reader.get("REDIS_URL"),
        owner_url=migrating or database,
        has_owner=migrating is not None and not _is_one_role(database, migrating, reader.get("DATABASE_POOLER")),
        admin_email=reader.get("ADMIN_EMAIL") or ADMIN_EMAIL,
        faults=reader.faults,
    )
    reader.faults.update(_database_faults(configuration, reader))
    if configuration.is_production:
        reader.faults.update(_production_faults(configuration, reader))
    return configuration


def where(url: str, default_port: int) -> str:
    """`host:port` of a server's URL: what may be shown of it."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname or parts.path or 'localhost'}:{parts.port or default_port}"
    except ValueError:
        return "its URL"


def _is_one_role(database: str | None, migrating: str, pooler: str | None) -> bool:
    """The same user on two ways, through a pooler and directly: a pooler does not know of roles that we make.

    Some poolers want `user.tenant` where the server itself wants `user`.
    """
    if database is None or pooler not in ("transaction", "session"):
        return False
    try:
        user, owner = urlsplit(database).username, urlsplit(migrating).username
    except ValueError:
        return False
    return user is not None and owner is not None and user.partition(".")[0] == owner.partition(".")[0]


def _database_faults(configuration: Configuration, reader: _Reader) -> dict[str, str]:
    if configuration.owner_url is None and (reader.get("AUTH_DATABASE_URL") or reader.get("CORE_DATABASE_URL")):
        return {"DATABASE_URL": "must be set (or MIGRATE_DATABASE_URL) where a service has a database URL of its own"}
    return {}


def _production_faults(configuration: Configuration, reader: _Reader) -> dict[str, str]:
    """Nothing is made up in production: every server, host and secret is somebody's decision."""
    faults = {}
    if (reader.get("EMBEDDED") or "").lower() not in _TRUE:
        if configuration.uses_embedded_postgres:
            faults["DATABASE_URL"] = "must be set in production (or EMBEDDED=true)"
        if configuration.uses_embedded_valkey:
            faults["REDIS_URL"] = "must be set in production (or EMBEDDED=true)"
    if not reader.get("DOMAINS", *(f"DOMAIN{number}" for number in range(1, 6))):
        faults["DOMAINS"] = "must be set in production: the hosts served, comma-separated"
    for name in _secrets_needed(configuration, faults):
        if fault := _secret_fault(name, configuration, reader):
            faults[name] = fault
    return faults


def _secrets_needed(configuration: Configuration, faults: Mapping[str, str]) -> list[str]:
    has_postgres = configuration.uses_embedded_postgres and "DATABASE_URL" not in faults
    has_valkey = configuration.uses_embedded_valkey and "REDIS_URL" not in faults
    return [
        *_OF_SERVICES,
        *(_OF_ROLES if has_postgres or configuration.has_owner else ()),
        *(["POSTGRES_PASSWORD"] if has_postgres else []),
        *(["REDIS_PASSWORD"] if has_valkey else []),
    ]


def _secret_fault(name: str, configuration: Configuration, reader: _Reader) -> str | None:
    path = configuration.place.var / "secrets" / name
    try:
        if path.exists():
            secrets.read(path)
    except SecretsError as error:
        return str(error)
    value = reader.get(name, "JWT_SECRET") if name == "SECRET_KEY" else reader.get(name)
    if not value:
        return reader.faults.get(name, "must be set in production; `openssl rand -base64 48` makes one")
    return weakness(value)
