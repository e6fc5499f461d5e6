"""The auth service over a real database, with hashing made cheap."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import psycopg
import pytest
from aiohttp.test_utils import TestClient

from auth_service.app import create_app
from auth_service.settings import AuthSettings
from common.settings import load
from common.worker import Worker
from tests.auth_service.client import SERVICE_KEY, AuthClient, FakeClock, cheap_hasher
from tests.conftest import made_database, on_database

StartAuth = Callable[..., Awaitable[AuthClient]]


EMPTY = """
    DELETE FROM auth.login_events; DELETE FROM auth.revocations; DELETE FROM auth.attempts;
    DELETE FROM auth.signing_keys; DELETE FROM auth.users; DELETE FROM auth.organizations;
    ALTER TABLE auth.revocations ALTER COLUMN seq RESTART;
    SELECT auth.roll_login_events();
"""


@pytest.fixture(scope="module")
def module_database(postgres_dsn: str, template_database: str) -> Iterator[psycopg.Connection]:
    with (
        made_database(postgres_dsn, template=template_database) as name,
        psycopg.connect(on_database(postgres_dsn, name), autocommit=True) as connection,
    ):
        yield connection


@pytest.fixture
def database_url(postgres_dsn: str, module_database: psycopg.Connection) -> str:
    """A migrated database without a row in it: one clone for a whole file, because emptying it takes a millisecond."""
    module_database.execute(EMPTY)
    return on_database(postgres_dsn, module_database.info.dbname)


@pytest.fixture
def environ(database_url: str, clean_redis_url: str) -> dict[str, str]:
    """What a process would read."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": clean_redis_url,
        "AUTH_SERVICE_KEY": SERVICE_KEY,
        "SECRET_KEY": "a secret of the tests, long enough to be one",
        "KEY_PEPPER": "the pepper of the tests",
        "DATABASE_TIMEOUT": "5",
    }


@pytest.fixture
def start_auth(environ: dict[str, str], aiohttp_client: Callable[..., Awaitable[TestClient]]) -> StartAuth:
    """Starts one more process's worth of the service over the same database; settings by their variables' names.

    `environ` comes first: what is set up first goes last, and a database cannot be dropped while a loop that stands
    still holds connections to it.
    """

    async def start(*, clock: FakeClock | None = None, hasher: Any = None, **changed: str) -> AuthClient:
        settings = load(AuthSettings, environ | changed)
        more = {"clock": clock} if clock else {}
        app = create_app(settings, runtime=Worker(), hasher=hasher or cheap_hasher(), **more)
        return AuthClient(await aiohttp_client(app))

    return start


@pytest.fixture
async def auth(start_auth: StartAuth) -> AuthClient:
    return await start_auth()


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to look behind the service's back."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()
