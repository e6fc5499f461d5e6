"""Real servers for the tests: given by address, found on the machine, or embedded in a directory of their own."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from ops import secrets
from ops.embedded import Postgres, Servers, Valkey

# Characters that need quoting somewhere: in a URL, in SQL, in a configuration file.
CLUSTER_SECRETS = {"POSTGRES_PASSWORD": "p:w/d@1%20'x", "REDIS_PASSWORD": "redis/pass:word@1#'x y"}


@contextmanager
def state_directory() -> Iterator[Path]:
    """A fresh `$GATEHOUSE_VAR` that other users may pass through, so that root's servers keep their files in it."""
    with tempfile.TemporaryDirectory(prefix="gatehouse-tests-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "var"


@contextmanager
def running_postgres(var: Path) -> Iterator[str]:
    """The superuser's DSN: `TEST_DATABASE_URL`'s server, else one of ours without fsync."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    with Postgres(var, secrets.ensure(var, {}), servers=servers(), durable=False) as postgres:
        yield postgres.url


@contextmanager
def running_valkey(var: Path) -> Iterator[str]:
    """A Redis URL: `TEST_REDIS_URL`, else a server of ours."""
    if given := os.environ.get("TEST_REDIS_URL"):
        yield given
        return
    with Valkey(var, secrets.ensure(var, {}), servers=servers()) as valkey:
        yield valkey.url


def servers() -> Servers:
    """`SERVERS=system` (make test SERVERS=system) means the machine's own programs."""
    return cast("Servers", os.environ.get("SERVERS") or "embedded")
