"""Fixtures for all tests: real servers for the session, a database and an empty Valkey for each test."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from psycopg import sql

from ops.embedded import Postgres
from ops.migrate import migrate
from tests.servers import CLUSTER_SECRETS, running_postgres, running_valkey, state_directory

REDIS_DATABASE = 9


@pytest.fixture(scope="session")
def state() -> Iterator[Path]:
    """The session's own `$GATEHOUSE_VAR`; its servers start with the first test that needs them."""
    with state_directory() as var:
        yield var


@pytest.fixture(scope="session")
def postgres_dsn(state: Path) -> Iterator[str]:
    """The superuser's DSN of a real PostgreSQL."""
    with running_postgres(state) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def redis_url(state: Path) -> Iterator[str]:
    """The URL of a real Valkey or Redis, shared by the session: see `clean_redis_url`."""
    with running_valkey(state) as url:
        yield url


@pytest.fixture(scope="session")
def stopped_cluster() -> Iterator[Path]:
    """The data of an embedded PostgreSQL that ran once, under `CLUSTER_SECRETS`: copying it is faster than initdb."""
    with state_directory() as var:
        server = Postgres(var, CLUSTER_SECRETS, durable=False)
        with server:
            pass
        yield server.data


@pytest.fixture(scope="session")
def template_database(postgres_dsn: str) -> Iterator[str]:
    """The name of a database with every migration applied, to be cloned."""
    with made_database(postgres_dsn, template=None) as name:
        migrate(on_database(postgres_dsn, name))
        yield name


@pytest.fixture
def database_url(postgres_dsn: str, template_database: str) -> Iterator[str]:
    """The DSN of a migrated database that this test has for itself."""
    with made_database(postgres_dsn, template=template_database) as name:
        yield on_database(postgres_dsn, name)


@pytest.fixture
def empty_database_url(postgres_dsn: str) -> Iterator[str]:
    """The DSN of a database in which nothing has happened yet."""
    with made_database(postgres_dsn, template=None) as name:
        yield on_database(postgres_dsn, name)


@pytest.fixture
def clean_redis_url(redis_url: str) -> str:
    """The URL of a numbered database of the Valkey, emptied."""
    url = urlsplit(redis_url)._replace(path=f"/{REDIS_DATABASE}").geturl()
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@contextmanager
def made_database(dsn: str, *, template: str | None) -> Iterator[str]:
    """The name of a fresh database, dropped afterwards even while somebody is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    source = sql.Identifier(template or "template0")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), source))
    try:
        yield name
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def on_database(dsn: str, name: str) -> str:
    """The same server, another database."""
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()
