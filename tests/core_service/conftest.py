"""The core service against real servers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from aiohttp.test_utils import TestClient, TestServer

from common.worker import Worker
from core_service.app import create_app
from core_service.settings import CoreSettings
from tests.conftest import made_database, on_database
from tests.core_service.caller import SERVICE_KEY, Caller, Client

AUTH_KEY = "auth-key-of-the-tests"
# Nothing listens there: the purge loop has to live with it.
NO_AUTH = "http://127.0.0.1:9"

Serve = Callable[..., Awaitable[Client]]


def make_settings(**given: Any) -> CoreSettings:
    values = {
        "CORE_SERVICE_KEY": SERVICE_KEY,
        "AUTH_SERVICE_KEY": AUTH_KEY,
        "AUTH_URL": NO_AUTH,
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "DATABASE_POOL_MAX": "4",
    }
    return CoreSettings.model_validate(values | given)


@pytest.fixture(scope="session")
def shared_database_url(postgres_dsn: str, template_database: str) -> Iterator[str]:
    """One database for all tests that only look at what new persons of theirs can see."""
    with made_database(postgres_dsn, template=template_database) as name:
        yield on_database(postgres_dsn, name)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(DATABASE_URL=…)`: a client of a core service with these settings.

    A test with a database of its own requests that fixture before this one, so that it goes last.
    """
    async with AsyncExitStack() as stack:

        async def start(**given: Any) -> Client:
            app = create_app(make_settings(**given), runtime=Worker())
            return await stack.enter_async_context(TestClient(TestServer(app)))

        yield start


@pytest.fixture
async def core(shared_database_url: str, redis_url: str, serve: Serve) -> Client:
    return await serve(DATABASE_URL=shared_database_url, REDIS_URL=redis_url)


@pytest.fixture
def as_user(core: Client) -> Callable[..., Caller]:
    """`as_user()`: a new person in a new organization; `as_user("viewer", org=…)` chooses."""

    def make(role: str = "user", **given: Any) -> Caller:
        return Caller(core, role, **given)

    return make


@pytest.fixture
async def connection(shared_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The test's own look at the shared database."""
    connection = await asyncpg.connect(shared_database_url)
    yield connection
    await connection.close()
