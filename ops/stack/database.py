"""The database that a command works on: the one configured, or the embedded one, running or not."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from common.settings import variable
from ops.embedded import Postgres, ServerError, Valkey
from ops.stack.configuration import Configuration
from ops.stack.control import ask
from ops.stack.errors import StackError


def running_url(kind: type[Postgres] | type[Valkey], configuration: Configuration) -> str | None:
    """How to reach the embedded server that this stack has running; None when it has none."""
    status = ask(configuration.place, "status")
    for entry in status["servers"] if status else []:
        if entry["name"] == kind.name and entry["state"] == "ready":
            server = kind(configuration.place.var, configuration.secrets())
            server.port = int(entry["address"].rpartition(":")[2])
            return server.url
    return None


@contextmanager
def owner_url(configuration: Configuration, secrets: Mapping[str, str]) -> Iterator[str]:
    """Who migrates: configured, else the embedded server's superuser; one that does not run is started meanwhile.

    Raises StackError.
    """
    found = configuration.owner_url or running_url(Postgres, configuration)
    if found is not None:
        yield found
        return
    with configuration.place.taken():
        try:
            with Postgres(configuration.place.var, secrets) as server:
                yield server.url
        except ServerError as error:
            raise StackError(str(error)) from None


def service_url(configuration: Configuration, name: str) -> str:
    """Whom a command reads as: the service's own role (`name` is its variable), else who migrates.

    Raises StackError when no database is set and the embedded one does not run.
    """
    url = variable(name, configuration.environ) or configuration.owner_url or running_url(Postgres, configuration)
    if url is None:
        raise StackError("the embedded PostgreSQL is not running; `gatehouse up` starts it")
    return url
