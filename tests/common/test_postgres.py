"""The pool when its database goes away: what was done stands, what was not is a 503, and nothing is lost for good."""

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import psycopg
import pytest
import structlog

from common.errors import NotFound, ServiceUnavailable
from common.postgres import Database, PoolOptions


@pytest.fixture
async def database(empty_database_url: str) -> AsyncIterator[Database]:
    """A pool of one connection: one that is not given back is missed."""
    database = Database(PoolOptions(empty_database_url, size_max=1, wait_seconds=5))
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def kill(empty_database_url: str) -> Callable[[asyncpg.Connection], None]:
    """Ends a connection's backend without a turn of the loop, so that nobody in this process notices."""

    def end(connection: asyncpg.Connection) -> None:
        with psycopg.connect(empty_database_url, autocommit=True) as other:
            ended = other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.get_server_pid()]).fetchone()
        assert ended == (True,)

    return end


async def test_connection_lost_after_the_work_leaves_the_work_done(
    database: Database, kill: Callable[[asyncpg.Connection], None]
) -> None:
    with structlog.testing.capture_logs() as entries:
        async with database.connection() as connection:
            await connection.execute("CREATE TABLE notes ()")
            kill(connection)
    assert [entry["event"] for entry in entries] == ["database_connection_lost"]
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM notes") == 0


async def test_connection_lost_during_the_work_is_503(
    database: Database, kill: Callable[[asyncpg.Connection], None]
) -> None:
    async def work() -> None:
        async with database.transaction() as connection:
            await connection.execute("CREATE TABLE notes ()")
            kill(connection)

    with pytest.raises(ServiceUnavailable):
        await work()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT to_regclass('notes')") is None


async def test_what_the_work_raised_is_not_masked_by_the_lost_connection(
    database: Database, kill: Callable[[asyncpg.Connection], None]
) -> None:
    async def work() -> None:
        async with database.connection() as connection:
            kill(connection)
            raise NotFound

    with pytest.raises(NotFound):
        await work()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_call_that_gets_no_connection_in_time_is_503(empty_database_url: str) -> None:
    database = Database(PoolOptions(empty_database_url, size_max=1, wait_seconds=0.2))
    await database.open()
    try:
        async with database.connection() as held, asyncio.timeout(5):
            with pytest.raises(ServiceUnavailable):
                async with database.connection():
                    pass
            assert await held.fetchval("SELECT 1") == 1  # whoever has one is not disturbed
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1
    finally:
        await database.close()
